"""API v3: submitting builds."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from backend.constants import Source
from backend.web import housekeeping, names, rows
from backend.web.errors import ApiError
from backend.web.models import Build, Project, User
from backend.web.request import Ctx, CurrentUser, JsonObject, context, current_user, json_object
from backend.web.shapes import build_json, page
from backend.web.states import now
from backend.web.tasks import short_of
from backend.web.upload import Upload
from backend.web.writer import announce

router = APIRouter(prefix="/api_3")
_SUFFIXES = (".src.rpm", ".nosrc.rpm")
_DEFAULT_TIMEOUT = 18000


def _target(session: Session, user: User, body: dict[str, Any]) -> tuple[Project, dict[str, Any]]:
    """The project to build in, and the columns of the Build that the options stand for."""
    owner, name = body.get("ownername"), body.get("projectname")
    if not isinstance(owner, str) or not isinstance(name, str):
        raise ApiError(400, "Missing argument ownername or projectname")
    project = rows.project(session.connection(), owner, name)
    if project is None:
        raise ApiError(404, f"Project {owner[:100]}/{name[:100]} does not exist.")
    if project.owner != user.name:
        raise ApiError(
            403, f"User {user.name} is not allowed to build in the copr: {project.full_name}"
        )
    where = f" in {project.full_name}"
    chroots = names.chroots(body.get("chroots"), project.chroots, where) or []
    excluded = names.chroots(body.get("exclude_chroots"), project.chroots, where) or []
    settings = project.settings
    net, isolation = body.get("enable_net"), body.get("isolation")
    if isolation in (None, "unchanged"):
        isolation = settings.get("isolation", "default")
    if isolation not in ("default", "simple", "nspawn"):
        raise ApiError(400, "isolation: must be default, simple or nspawn")
    return project, {
        "dirname": names.dirname(body.get("project_dirname"), project.name),
        "timeout": names.number(body, "timeout", _DEFAULT_TIMEOUT, 0, 7 * 24 * 3600)
        or _DEFAULT_TIMEOUT,
        "background": body.get("background") is True,
        "enable_net": settings.get("enable_net", False) if net is None else net is True,
        "isolation": isolation,
        "excluded": excluded,
        "chroots": [chroot for chroot in chroots if chroot not in excluded],
    }


def _add(session: Session, user: User, body: dict[str, Any], source: dict[str, Any]) -> Build:
    project, columns = _target(session, user, body)
    kind = Source.UPLOAD if "tmp" in source else Source.LINK
    build = rows.add(
        session.connection(),
        project,
        {
            "submitter": user.name,
            "source_type": int(kind),
            "source": source,
            "submitted_on": now(),
            **columns,
        },
    )
    announce(session, "new", [short_of(build)])
    return build


@router.post("/build/check-before-build")
def check_before_build(ctx: Ctx, user: CurrentUser, body: JsonObject) -> Response:
    """Would such a build be accepted?"""
    with ctx.reading() as session:
        _target(session, user, body)
    return JSONResponse({"message": "It should be safe to submit a build like this"})


def _urls(body: dict[str, Any]) -> list[str]:
    urls = names.strings(body.get("pkgs"), "pkgs")
    if not urls:
        raise ApiError(400, "pkgs: This field is required.")
    for url in urls:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname
        except ValueError:
            good = None
        if not good or not url.isprintable() or " " in url or not url.endswith(_SUFFIXES):
            raise ApiError(
                400,
                "pkgs: give http or https addresses of source packages, ending with .src.rpm"
                f" or .nosrc.rpm: {url[:200]!r} is none",
            )
    return urls


async def create_url(request: Request) -> Response:
    """One build for each URL."""
    ctx = context(request)
    user = await current_user(request, ctx)
    body = await json_object(request)
    urls = _urls(body)

    def add(session: Session) -> list[dict[str, Any]]:
        return [build_json(ctx, _add(session, user, body, {"url": url})) for url in urls]

    reply = page(await ctx.write(add), None, None)
    reply["meta"] |= {"order": None, "order_type": None}
    return JSONResponse(reply)


# A plain route: robots submit by the hundred, and FastAPI's checks would cost more than the rest.
router.add_route("/api_3/build/create/url", create_url, methods=["POST"])


async def _received(
    request: Request, ctx: Ctx, _user: CurrentUser
) -> tuple[Upload, dict[str, Any]]:
    upload = Upload(housekeeping.uploads(ctx), ctx.config.web_max_upload)
    return upload, await upload.receive(request)


@router.post("/build/create/upload")
async def create_upload(
    ctx: Ctx,
    user: CurrentUser,
    received: Annotated[tuple[Upload, dict[str, Any]], Depends(_received)],
) -> Response:
    """A build of an uploaded source package."""
    upload, body = received
    source = {"tmp": upload.token, "pkg": upload.name}
    try:
        reply = await ctx.write(lambda s: build_json(ctx, _add(s, user, body, source)))
    except BaseException:
        await run_in_threadpool(upload.discard)
        raise
    return JSONResponse(reply)
