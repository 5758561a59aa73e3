"""What people do in a browser: log in, make a project, upload, cancel, submit again."""

from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backend.web import api_builds, api_projects, api_submit, housekeeping, session, states
from backend.web.errors import ApiError
from backend.web.queries import get_build
from backend.web.render import HEADERS
from backend.web.request import Ctx
from backend.web.show import Shown
from backend.web.store import Context
from backend.web.upload import Upload

router: Final = APIRouter()


def _go(address: str) -> RedirectResponse:
    return RedirectResponse(address, 303, HEADERS)


def _build_address(build: int) -> str:
    return f"/coprs/build/{build}"


@router.get("/login")
def login_page(viewer: Shown) -> Response:
    """Where login and token are asked for."""
    return viewer.page("login.html", problem="", login="")


@router.post("/login")
async def login(request: Request, ctx: Ctx, viewer: Shown) -> Response:
    """Begin a session."""
    session.check_origin(request)
    fields = await session.read_form(request)
    login = fields.get("login", "").strip()
    try:
        _, cookie = await session.log_in(ctx, login, fields.get("token", "").strip())
    except ApiError as error:
        return viewer.page("login.html", error.status, problem=error.text, login=login[:200])
    reply = _go("/")
    session.give(reply, ctx, cookie)
    return reply


@router.post("/logout")
async def logout(request: Request, ctx: Ctx) -> Response:
    """End the session."""
    await session.owner_of_form(request, ctx, await session.read_form(request))
    reply = _go("/")
    session.give(reply, ctx, "")
    return reply


@router.get("/new")
def new_project_page(viewer: Shown, ctx: Ctx) -> Response:
    """A form for a new project."""
    given = {"name": "", "description": "", "chroots": ctx.chroots}
    return viewer.page("new.html", chroots=ctx.chroots, problem="", given=given)


@router.post("/new")
async def new_project(request: Request, ctx: Ctx, viewer: Shown) -> Response:
    """Make a project; what is refused is shown again, to be corrected."""
    fields = await session.read_form(request)
    user = await session.owner_of_form(request, ctx, fields)
    chosen = [name for name in ctx.chroots if fields.get(f"chroot-{name}")]
    body: dict[str, Any] = {
        "name": fields.get("name", "").strip(),
        "description": fields.get("description", ""),
        "chroots": chosen,
    }
    try:
        if not chosen:
            raise ApiError(400, "Choose at least one chroot to build for.")
        await run_in_threadpool(api_projects.project_add, ctx, user, user.name, body)
    except ApiError as error:
        return viewer.page(
            "new.html", error.status, chroots=ctx.chroots, problem=error.text, given=body
        )
    return _go(f"/coprs/{quote(user.name)}/{quote(body['name'])}/")


@router.post("/coprs/{owner}/{name}/upload")
async def upload(request: Request, ctx: Ctx, owner: str, name: str) -> Response:
    """Build an uploaded source package. The form's token is in the address: the fields of the
    form would only be known when all of the package has arrived."""
    user = await session.owner_of_form(request, ctx, request.query_params)
    received = Upload(housekeeping.uploads(ctx), ctx.config.web_max_upload, ctx.config.min_free)
    await received.receive(request)
    body = {"ownername": owner, "projectname": name}
    await api_submit.create_upload(ctx, user, (received, body))
    return _go(f"/coprs/{quote(owner)}/{quote(name)}/#builds")


@router.post("/coprs/{owner}/{name}/submit")
async def submit(request: Request, ctx: Ctx, owner: str, name: str) -> Response:
    """Build a source package of a web server."""
    fields = await session.read_form(request)
    user = await session.owner_of_form(request, ctx, fields)
    body = {"ownername": owner, "projectname": name, "pkgs": fields.get("urls", "").split()}
    await api_submit.submit_urls(ctx, user, body)
    return _go(f"/coprs/{quote(owner)}/{quote(name)}/#builds")


@router.post("/coprs/build/{build_id}/cancel")
async def cancel(request: Request, ctx: Ctx, build_id: int) -> Response:
    """Cancel a build."""
    user = await session.owner_of_form(request, ctx, await session.read_form(request))
    await run_in_threadpool(api_builds.build_cancel, ctx, user, build_id)
    return _go(_build_address(build_id))


@router.post("/coprs/build/{build_id}/resubmit")
async def resubmit(request: Request, ctx: Ctx, build_id: int) -> Response:
    """Build the same source package once more."""
    user = await session.owner_of_form(request, ctx, await session.read_form(request))
    body = await run_in_threadpool(_again, ctx, build_id)
    await api_submit.submit_urls(ctx, user, body)
    return _go(f"/coprs/{quote(body['ownername'])}/{quote(body['projectname'])}/#builds")


def _again(ctx: Context, build_id: int) -> dict[str, Any]:
    with ctx.reading() as reading:
        build = get_build(reading, build_id)
        if states.is_binary(build):
            raise ApiError(409, "It was uploaded, not built: upload it again (copr-cli uploadrpm).")
        url = build.srpm_url or build.source.get("url")
        if not url:
            raise ApiError(409, "Its source package is gone: upload it again.")
        return {
            "ownername": build.project.owner,
            "projectname": build.project.name,
            "project_dirname": build.dirname,
            "pkgs": [url],
            "chroots": [chroot.name for chroot in build.chroots if chroot.name],
            "timeout": build.timeout,
            "enable_net": build.enable_net,
        }
