"""What handlers ask of a request: context, JSON body, who is it."""

import base64
import binascii
import hmac
import json
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import select

from backend.web.errors import ApiError
from backend.web.models import User
from backend.web.store import Context, hash_token

#: Largest JSON body, in bytes.
MAX_BODY = 64 * 1024**2


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(_context)]


async def _json_body(request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "Send the body as Content-Type: application/json")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise ApiError(413, f"The body is larger than {MAX_BODY} bytes")
    try:
        return json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"The body is no JSON: {str(error)[:200]}") from error


async def _json_object(body: Annotated[Any, Depends(_json_body)]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object")
    return body


JsonObject = Annotated[dict[str, Any], Depends(_json_object)]


def credentials(request: Request) -> tuple[str, str]:
    """Name and password of HTTP Basic; both empty without (or with unreadable) ones."""
    scheme, _, code = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(code, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return name, password


async def require_backend(request: Request, ctx: Ctx) -> None:
    """Only the backend may go on; its user name does not matter."""
    given = credentials(request)[1].encode()
    if not ctx.password or not hmac.compare_digest(given, ctx.password.encode()):
        raise ApiError(401, "You have to provide the correct password")


def authenticate(request: Request, ctx: Context) -> User:
    """The user whose API token came with the request, or the 401 that clients know."""
    login, token = credentials(request)
    with ctx.reading() as session:
        user = session.scalar(select(User).where(User.login == login))
    right = hmac.compare_digest(hash_token(token), user.token_hash if user else hash_token(""))
    if user is None or not right:
        raise ApiError(
            401,
            f"Login invalid/expired. Please visit {ctx.config.public_url}/api"
            " to get or renew your API token.",
        )
    return user


def _current_user(request: Request, ctx: Ctx) -> User:
    return authenticate(request, ctx)


CurrentUser = Annotated[User, Depends(_current_user)]
