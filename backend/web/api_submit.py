"""API v3: submitting builds."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Path, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from backend.constants import Source
from backend.web import (
    batches,
    binaries,
    bodies,
    housekeeping,
    names,
    openapi,
    origins,
    permissions,
    rows,
    settings,
)
from backend.web.errors import ApiError
from backend.web.models import Build, Package, Project, User
from backend.web.packages import denied, get_package
from backend.web.request import Ctx, CurrentUser, JsonObject, context, current_user, json_object
from backend.web.shapes import build_json, page
from backend.web.states import now
from backend.web.store import Context
from backend.web.tasks import short_of
from backend.web.upload import BINARY, SOURCE, Kind, Upload
from backend.web.writer import announce

router = APIRouter(prefix="/api_3")
_SUFFIXES = (".src.rpm", ".nosrc.rpm", ".spec")
_DEFAULT_TIMEOUT = 18000
_TARGET = tuple(bodies.TARGET)
_PACKAGE = openapi.body({**bodies.BUILD, "package_name": bodies.NAME}, *_TARGET, "package_name")
_CREATE = openapi.body({**bodies.BUILD, **bodies.SOURCE}, *_TARGET)


Options = dict[str, Any]


def _target(
    session: Session, user: User, body: Mapping[str, Any], package: Package | None = None
) -> tuple[Project, Options]:
    """The project to build in, and the columns of the Build that the options stand for."""
    owner, name = body.get("ownername"), body.get("projectname")
    if not isinstance(owner, str) or not isinstance(name, str):
        raise ApiError(400, "Missing argument ownername or projectname")
    project = rows.project(session.connection(), owner, name)
    if project is None:
        raise ApiError(404, f"Project {owner[:100]}/{name[:100]} does not exist.")
    if not permissions.may(session.connection(), user, project, "builder"):
        raise ApiError(
            403, f"User {user.name} is not allowed to build in the copr: {project.full_name}"
        )
    where = f" in {project.full_name}"
    chroots = names.chroots(body.get("chroots"), project.chroots, where) or []
    excluded = names.chroots(body.get("exclude_chroots"), project.chroots, where) or []
    if package is not None:
        excluded = list(dict.fromkeys([*excluded, *denied(package, project)]))
    isolation = body.get("isolation") or "unchanged"
    if isolation not in ("unchanged", *settings.ISOLATION):
        raise ApiError(400, f"isolation: must be one of {', '.join(settings.ISOLATION)}")
    net = body.get("enable_net")
    timeout = names.number(body, "timeout", 0, 0, settings.LONGEST)
    return project, {
        "dirname": names.dirname(body.get("project_dirname"), project.name),
        "timeout": timeout or (package and package.options.get("timeout")) or _DEFAULT_TIMEOUT,
        "background": body.get("background") is True,
        "enable_net": project.settings.get("enable_net", False) if net is None else net is True,
        "isolation": isolation,
        "options": settings.bootstrap(body) | _came_by(body),
        "excluded": excluded,
        "chroots": [chroot for chroot in chroots if chroot not in excluded],
    }


def _came_by(body: Mapping[str, Any]) -> Options:
    """Which webhook asked for the build, if one did."""
    how = body.get("webhook")
    return {"webhook": how} if how in ("custom", "github", "gitlab", "bitbucket") else {}


def _add(
    session: Session,
    user: User,
    body: Mapping[str, Any],
    source: tuple[Source, Options],
    package: Package | None = None,
    *,
    binary: binaries.Binary | None = None,
) -> Build:
    connection = session.connection()
    project, columns = _target(session, user, body, package)
    if binary:
        columns |= binaries.columns(binary, project, columns)
    build = rows.add(
        connection,
        project,
        {
            "submitter": user.name,
            "source_type": int(source[0]),
            "source": source[1],
            "submitted_on": now(),
            "batch_id": batches.join(connection, user, body),
            "pkg_name": package.name if package else None,
            **columns,
        },
    )
    if binary:
        rows.remember_package(connection, build)
    batch = build.batch_id
    if batch is None or not batches.blocked(connection, [batch]):
        tasks = [c.name for c in build.chroots] if binary else [None]
        announce(session, "new", [short_of(build, chroot) for chroot in tasks])
    return build


@router.post("/build/check-before-build", openapi_extra=openapi.body(bodies.BUILD, *_TARGET))
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
                "pkgs: give http or https addresses of source packages, ending with .src.rpm,"
                f" .nosrc.rpm or .spec: {url[:200]!r} is none",
            )
    return urls


async def create_url(request: Request) -> Response:
    """One build for each URL."""
    ctx = context(request)
    user = await current_user(request, ctx)
    return await submit_urls(ctx, user, await json_object(request))


async def submit_urls(ctx: Context, user: User, body: dict[str, Any]) -> Response:
    """The same, for who has read the request."""
    urls = _urls(body)

    def add(session: Session) -> list[dict[str, Any]]:
        made = [_add(session, user, body, (Source.LINK, {"url": url})) for url in urls]
        return [build_json(ctx, build) for build in made]

    reply = page(await ctx.write(add), None, None)
    reply["meta"] |= {"order": None, "order_type": None}
    return JSONResponse(reply)


# A plain route: robots submit by the hundred, and FastAPI's checks would cost more than the rest.
router.add_route("/api_3/build/create/url", create_url, methods=["POST"])


@router.post(
    "/package/build",
    openapi_extra=openapi.body(
        {**bodies.BUILD, "package_name": bodies.NAME}, *_TARGET, "package_name"
    ),
)
async def package_build(ctx: Ctx, user: CurrentUser, body: JsonObject) -> Response:
    """A build of a package from the source that it is configured with."""

    def add(session: Session) -> Options:
        project, _ = _target(session, user, body)
        package = get_package(session, project, body.get("package_name"))
        return build_json(ctx, rebuild(session, user, body, package, {}))

    return JSONResponse(await ctx.write(add))


def rebuild(
    session: Session, user: User, body: Mapping[str, Any], package: Package, change: Options
) -> Build:
    """A build of a package from the source that it is configured with, but for `change`."""
    if not package.source_type:
        raise ApiError(
            400, f"Unset default source for package {package.name}: copr-cli"
            " edit-package-scm, -pypi, -rubygems, -custom or -distgit"
        )  # fmt: skip
    source = (Source(package.source_type), {**package.source, **change})
    return _add(session, user, body, source, package)


async def _receive(
    request: Request, ctx: Context, user: User, kind: Kind
) -> tuple[Upload, Options]:
    ctx.rates.take(user.name)
    limit, min_free = ctx.config.web_max_upload, ctx.config.min_free
    upload = Upload(housekeeping.uploads(ctx), limit, min_free, kind)
    return upload, await upload.receive(request)


async def _received(request: Request, ctx: Ctx, user: CurrentUser) -> tuple[Upload, Options]:
    return await _receive(request, ctx, user, SOURCE)


async def _received_binary(request: Request, ctx: Ctx, user: CurrentUser) -> tuple[Upload, Options]:
    return await _receive(request, ctx, user, BINARY)


@router.post("/build/create/upload", openapi_extra=openapi.form(bodies.UPLOAD))
async def create_upload(
    ctx: Ctx,
    user: CurrentUser,
    received: Annotated[tuple[Upload, Options], Depends(_received)],
) -> Response:
    """A build of an uploaded source package."""
    upload, body = received
    source = (Source.UPLOAD, {"tmp": upload.token, "pkg": upload.name})
    try:
        reply = await ctx.write(lambda s: build_json(ctx, _add(s, user, body, source)))
    except BaseException:
        await run_in_threadpool(upload.discard)
        raise
    return JSONResponse(reply)


@router.post("/build/create/rpm-upload", openapi_extra=openapi.form(bodies.RPM_UPLOAD))
async def create_rpm_upload(
    ctx: Ctx,
    user: CurrentUser,
    received: Annotated[tuple[Upload, Options], Depends(_received_binary)],
) -> Response:
    """A build that publishes an uploaded binary package as it is."""
    upload, body = received
    try:
        binary = await run_in_threadpool(binaries.take, upload)
        kept = {"tmp": upload.token, "pkg": binary.filename, "binary": True}
        source = (Source.UPLOAD, kept)
        reply = await ctx.write(
            lambda s: build_json(ctx, _add(s, user, body, source, binary=binary))
        )
    except BaseException:
        await run_in_threadpool(upload.discard)
        raise
    return JSONResponse(reply)


def _kind(kind: Annotated[str, Path(json_schema_extra={"enum": list(origins.KINDS)})]) -> str:
    if kind not in origins.KINDS:
        raise ApiError(404, "Such API endpoint doesn't exist")
    return kind


@router.post("/build/create/{kind}", openapi_extra=_CREATE)
async def create(
    ctx: Ctx, kind: Annotated[str, Depends(_kind)], user: CurrentUser, body: JsonObject
) -> Response:
    """A build whose source package is made from something else: scm, pypi, custom…"""
    source = origins.source(kind, body, ctx.config)
    return JSONResponse(await ctx.write(lambda s: build_json(ctx, _add(s, user, body, source))))
