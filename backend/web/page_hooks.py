"""The page of a project's webhooks, in both directions, for who may change the project."""

from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backend.web import api_hooks, hooks, session
from backend.web.errors import ApiError
from backend.web.render import HEADERS
from backend.web.request import Ctx
from backend.web.show import Shown

router: Final = APIRouter(prefix="/coprs/{owner}/{name}/webhooks")
_LOG = 20


@router.get("")
@router.get("/")
def webhooks_page(ctx: Ctx, viewer: Shown, owner: str, name: str) -> Response:
    """Addresses that are told of builds, addresses that ask for builds, and the log."""
    if viewer.user is None:
        raise ApiError(401, "Log in first: the link is at the top of each page.")
    with ctx.reading() as reading:
        project = api_hooks.mine(reading, viewer.user, owner, name)
        items = [
            {
                "hook": hook,
                "log": [
                    {"it": found, "state": api_hooks.state(found)}
                    for found in hooks.deliveries(reading, hook, _LOG)
                ],
            }
            for hook in hooks.of(reading, project)
        ]
    return viewer.page("hooks.html", project=project, hooks=items)


async def _act(request: Request, ctx: Ctx, act: Any, *names: Any) -> Response:
    fields = await session.read_form(request)
    user = await session.owner_of_form(request, ctx, fields)
    owner, name = names[:2]
    more = [fields] if act is api_hooks.add else []
    await run_in_threadpool(act, ctx, user, *names, *more)
    return RedirectResponse(f"/coprs/{quote(owner)}/{quote(name)}/webhooks", 303, HEADERS)


@router.post("/add")
async def add(request: Request, ctx: Ctx, owner: str, name: str) -> Response:
    """Tell one more address."""
    return await _act(request, ctx, api_hooks.add, owner, name)


@router.post("/secret")
async def secret(request: Request, ctx: Ctx, owner: str, name: str) -> Response:
    """New addresses for forges."""
    return await _act(request, ctx, api_hooks.generate, owner, name)


@router.post("/{hook_id}/delete")
async def delete(request: Request, ctx: Ctx, owner: str, name: str, hook_id: int) -> Response:
    """Tell it nothing more."""
    return await _act(request, ctx, api_hooks.remove, owner, name, hook_id)


@router.post("/{hook_id}/ping")
async def ping(request: Request, ctx: Ctx, owner: str, name: str, hook_id: int) -> Response:
    """Try the address."""
    return await _act(request, ctx, api_hooks.ping, owner, name, hook_id)


@router.post("/{delivery_id}/again")
async def again(request: Request, ctx: Ctx, owner: str, name: str, delivery_id: int) -> Response:
    """Send a message once more."""
    return await _act(request, ctx, api_hooks.redeliver, owner, name, delivery_id)
