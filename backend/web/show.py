"""Renders pages for who looks at them."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from backend.web import permissions, session
from backend.web.models import Project, User
from backend.web.render import HEADERS, render
from backend.web.request import Ctx, context
from backend.web.store import Context


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """Who looks, and the token for his forms."""

    ctx: Context
    user: User | None
    form_token: str

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """The page of `template`."""
        config = self.ctx.config
        text = render(
            template,
            cli_config=config.web_cli_config,
            url=config.public_url,
            user=self.user,
            form_token=self.form_token,
            **values,
        )
        return HTMLResponse(text, status, HEADERS)

    def may(self, session: Session, project: Project, role: str) -> bool:
        """May he act as `role` in the project? Only to show buttons: whoever acts checks."""
        return self.user is not None and permissions.may(
            session.connection(), self.user, project, role
        )


async def viewer(request: Request, ctx: Ctx) -> Viewer:
    """For FastAPI."""
    if session.COOKIE not in request.cookies:
        return Viewer(ctx=ctx, user=None, form_token="")
    user = await session.user_of(request, context(request))
    return Viewer(ctx=ctx, user=user, form_token=session.form_token(request, user))


Shown = Annotated[Viewer, Depends(viewer)]
