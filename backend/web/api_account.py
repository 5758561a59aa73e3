"""API v3: the user's own token."""

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend.web import accounts
from backend.web.errors import ApiError
from backend.web.models import User
from backend.web.request import Ctx, CurrentUser

router = APIRouter(prefix="/api_3")


@router.get("")
def home() -> Response:
    """Which API is this?"""
    return JSONResponse({"version": 3})


@router.get("/auth-check")
def auth_check(user: CurrentUser) -> Response:
    """Whose token is it?"""
    return JSONResponse({"name": user.name, "id": user.id})


@router.post("/api-token")
async def api_token(ctx: Ctx, user: CurrentUser) -> Response:
    """A new token; the one that this request came with is good no more."""

    def renew(session: Session) -> accounts.Token:
        found = session.get(User, user.id)
        if found is None:
            raise ApiError(404, f"User {user.name} does not exist.")
        return accounts.renew(found, ctx.config.web_token_days)

    token = await ctx.write(renew)
    return JSONResponse(
        {"api_login": token.login, "api_token": token.token, "expiration": token.expiration}
    )
