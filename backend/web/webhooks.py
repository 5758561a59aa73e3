"""Addresses at which forges and scripts ask for builds: Copr's own, under `/webhooks/`.

Who knows the project's secret may have its packages built, and nothing else. Answers are short
texts, as forges show them to people.
"""

import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from backend.constants import Source
from backend.web import api_submit, housekeeping, pushes
from backend.web.errors import ApiError
from backend.web.models import Package, Project, User
from backend.web.packages import get_package
from backend.web.queries import find_project
from backend.web.request import Ctx
from backend.web.store import Context

router = APIRouter(prefix="/webhooks")
#: Largest message, in bytes; GitHub's own limit is the same.
MAX_BODY = 25 * 1024**2
_OK = "OK"
Find = Callable[[Session], Project]


@router.post("/custom/{project_id}/{secret}/{package}")
@router.post("/custom/{project_id}/{secret}/{package}/")
async def custom(
    request: Request, ctx: Ctx, project_id: int, secret: str, package: str
) -> Response:
    """Build one package; the answer is the build's number."""
    return await _custom(request, ctx, lambda s: _project(s, project_id, secret), package)


@router.post("/custom-dir/{owner}/{dirname}/{secret}/{package}")
@router.post("/custom-dir/{owner}/{dirname}/{secret}/{package}/")
async def custom_dir(  # noqa: PLR0917  (parts of the address)
    request: Request, ctx: Ctx, owner: str, dirname: str, secret: str, package: str
) -> Response:
    """The same in a directory `<project>:<suffix>`."""

    def find(session: Session) -> Project:
        project = find_project(session, owner, dirname.partition(":")[0])
        return _check(project, secret)

    return await _custom(request, ctx, find, package, dirname)


@router.post("/{forge}/{project_id}/{secret}")
@router.post("/{forge}/{project_id}/{secret}/")
@router.post("/{forge}/{project_id}/{secret}/{package}")
@router.post("/{forge}/{project_id}/{secret}/{package}/")
async def push(  # noqa: PLR0917  (parts of the address)
    request: Request, ctx: Ctx, forge: str, project_id: int, secret: str, package: str = ""
) -> Response:
    """Build what a push concerns, or only `package` of it."""
    if forge not in pushes.FORGES:
        known = ", ".join((*pushes.FORGES, "custom"))
        return _say(f"{forge[:40]} is none of {known}; custom needs a package", 404)
    try:
        await _enter(ctx, lambda session: _project(session, project_id, secret))
        data = await _body(request)
        payload = _payload(data, request.headers.get("content-type", ""))
        if request.headers.get("x-github-event") == "ping":
            return _say(_OK)
        found = pushes.FORGES[forge](payload)
        await ctx.write(
            lambda s: _builds(s, _project(s, project_id, secret), found, forge, package)
        )
    except pushes.NoPush as error:
        return _say(f"This is no push of {forge}: {error}", 400)
    except ApiError as error:
        return _refuse(error)
    return _say(_OK)


def _say(text: str, status: int = 200) -> Response:
    return PlainTextResponse(f"{text}\n", status)


def _refuse(error: ApiError) -> Response:
    return PlainTextResponse(f"{error.text}\n", error.status, error.headers)


async def _enter(ctx: Context, find: Find) -> None:
    """Only who knows the secret goes on, and that not too often: before the message is read."""
    ctx.hook_rates.take(await ctx.read(lambda session: find(session).id))


def _check(project: Project | None, secret: str) -> Project:
    if project is None or project.deleted_on is not None:
        raise ApiError(404, "PROJECT_NOT_FOUND")
    own = project.webhook_secret or ""
    if not own or not hmac.compare_digest(own.encode(), secret.encode()):
        raise ApiError(403, "BAD_UUID")
    return project


def _project(session: Session, number: int, secret: str) -> Project:
    project = session.get(Project, number) if 0 < number < 2**31 else None
    return _check(project, secret)


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise ApiError(413, f"The message is larger than {MAX_BODY} bytes")
    return bytes(data)


def _payload(data: bytes, kind: str) -> dict[str, Any]:
    """The JSON object of a message, which GitHub also sends as the field of a form."""
    try:
        if kind.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
            data = parse_qs(data.decode())["payload"][0].encode()
        payload = json.loads(data)
    except (KeyError, ValueError, RecursionError) as error:
        raise ApiError(400, "Bad Request: the message is no JSON") from error
    if not isinstance(payload, dict):
        raise ApiError(400, "Bad Request: the message is no JSON object")
    return payload


def _builds(
    session: Session, project: Project, push: pushes.Push | None, forge: str, only: str
) -> None:
    if push is None:
        return
    query = select(Package).where(
        Package.project_id == project.id, Package.source_type == int(Source.SCM)
    )
    for package in session.scalars(query.order_by(Package.id)):
        wanted = package.options.get("webhook_rebuild") and only in ("", package.name)
        if wanted and pushes.concerns(push, package.name, package.source):
            _rebuild(session, project, package, {"committish": push.committish}, forge)


def _rebuild(
    session: Session,
    project: Project,
    package: Package,
    change: dict[str, Any],
    how: str,
    *,
    dirname: str | None = None,
) -> int:
    """A build in the name of the project's owner."""
    body = {
        "ownername": project.owner,
        "projectname": project.name,
        "project_dirname": dirname,
        "webhook": how,
    }
    user = User(name=project.owner)
    return api_submit.rebuild(session, user, body, package, change).id


async def _custom(
    request: Request, ctx: Context, find: Find, package: str, dirname: str | None = None
) -> Response:
    try:
        await _enter(ctx, find)
        data = await _body(request)
        kind = await ctx.read(lambda s: get_package(s, find(s), package).source_type)
        if request.headers.get("x-github-event") == "ping":
            return _say("SKIPPED")
        change: dict[str, Any] = {}
        if data and kind == Source.CUSTOM:
            token = await run_in_threadpool(housekeeping.keep_payload, ctx, data)
            change = {"tmp": token, "hook_data": True}

        def add(session: Session) -> int:
            project = find(session)
            found = get_package(session, project, package)
            return _rebuild(session, project, found, change, "custom", dirname=dirname)

        return _say(str(await ctx.write(add)))
    except ApiError as error:
        return _refuse(error)
