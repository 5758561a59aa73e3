"""API v3: looking at builds, canceling and deleting them."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend.constants import SRPM_CHROOT, Status
from backend.explain import Place
from backend.web import (
    actions,
    batches,
    bodies,
    books,
    hooks,
    housekeeping,
    latest,
    longlist,
    names,
    openapi,
    permissions,
    rows,
    states,
    verdicts,
)
from backend.web.errors import ApiError
from backend.web.models import Build, User
from backend.web.paging import ById, Part
from backend.web.queries import get_build, get_project, in_progress
from backend.web.request import Ctx, CurrentUser, JsonObject
from backend.web.shapes import build_json, chroot_json, first_failure, open_tasks, page
from backend.web.store import Context
from backend.web.writer import announce

router = APIRouter(prefix="/api_3")
#: A query names at most so many builds.
_AT_ONCE = 500
_STATES: dict[str, Any] = {"enum": [status.label for status in Status]}
_ORDER = {"id": Build.id}
_LIST = openapi.body({"builds": bodies.BUILDS}, "builds")


@router.get("/build/list")
def build_list(
    *,
    ctx: Ctx,
    part: ById,
    ownername: str,
    projectname: str,
    packagename: str | None = None,
    status: Annotated[str | None, Query(json_schema_extra=_STATES)] = None,
) -> Response:
    """Builds of a project."""
    version = ctx.marks.version
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
        query = select(Build.id).where(Build.project_id == project.id)
        if packagename is not None:
            query = query.where(Build.pkg_name == packagename)
        if status is not None:
            query = query.where(latest.has_status(_status(status)))
        ids: Sequence[int]
        if packagename is None and status is None:
            ids = longlist.ids(session, ctx.marks, project.id, part, version)
        else:
            ids = session.scalars(part.apply(query, _ORDER)).all()
        found: dict[int, Build] = {}
        for start in range(0, len(ids), _AT_ONCE):
            found |= rows.builds(session.connection(), ids[start : start + _AT_ONCE])
        items = [build_json(ctx, found[number]) for number in ids]
    return JSONResponse(part.page(items))


def _status(label: str) -> Status:
    for status in Status:
        if status.label == label:
            return status
    known = ", ".join(status.label for status in Status)
    raise ApiError(400, f"status: {label[:100]!r} is none of {known}")


@router.get("/build/source-chroot/{build_id:int}")
def source_chroot(ctx: Ctx, build_id: int) -> Response:
    """State and results of the source build."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        base = f"{ctx.config.results_url}/{build.project.owner}/{build.dirname}/{SRPM_CHROOT}"
        url = f"{base}/{build.result_dir}/" if build.result_dir else None
        state = Status.CANCELED if build.canceled else Status(build.source_status)
        return JSONResponse({"state": state.label, "result_url": url})


@router.get("/build/source-build-config/{build_id:int}")
def source_build_config(ctx: Ctx, build_id: int) -> Response:
    """What the source package is made from."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        return JSONResponse(
            {
                "source_type": build.source_type,
                "source_json": build.source,
                "memory_limit": None,
                "timeout": build.timeout,
                "is_background": build.background,
            }
        )


@router.get("/build/built-packages/{build_id:int}")
def built_packages(ctx: Ctx, build_id: int) -> Response:
    """What came out of a build, by chroot."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        return JSONResponse({c.name: {"packages": c.packages} for c in build.chroots})


@router.get("/build/{build_id:int}")
def build_get(ctx: Ctx, build_id: int) -> Response:
    """One build. Our own: `failure`, `triage` (its class and key lines), `waiting` (why each of
    its tasks waits)."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        reply = build_json(ctx, build) | {"failure": first_failure(build)}
        reply["triage"] = verdicts.of_build(verdicts.of(session, [build_id]), build)
        tasks = open_tasks(build)
    places = ctx.explain(tasks)
    waiting = {task: place.text for task, place in places.items() if place.place == "waiting"}
    return JSONResponse(reply | {"waiting": waiting})


@router.get("/build/why/{build_id:int}")
def build_why(ctx: Ctx, build_id: int) -> Response:
    """Where each unfinished task of a build is, and why it waits (our own)."""
    with ctx.reading() as session:
        tasks = open_tasks(get_build(session, build_id))
    places = ctx.explain(tasks)
    unknown = Place(place="unknown", text="the job grabber has not told of it yet")
    items = [{"task_id": task} | places.get(task, unknown).to_dict() for task in tasks]
    return JSONResponse(page(items))


@router.get("/build-chroot/list")
def build_chroot_list(ctx: Ctx, part: Part, build_id: int) -> Response:
    """The chroots of a build."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        items = [
            chroot_json(ctx, build, chroot) for chroot in part.slice(build.chroots, "id", "name")
        ]
    return JSONResponse(part.page(items))


@router.post("/build/cancel/{build_id:int}", operation_id="build_cancel_post")
@router.put("/build/cancel/{build_id:int}")
def build_cancel(ctx: Ctx, user: CurrentUser, build_id: int) -> Response:
    """Cancel: users see it canceled at once, the backend is told."""
    with ctx.writing() as session:
        build = get_build(session, build_id)
        if not permissions.may(session.connection(), user, build.project, "builder"):
            raise ApiError(403, "You are not allowed to cancel this build.")
        if states.is_finished(build):
            raise ApiError(409, f"Cannot cancel build {build_id}")
        states.cancel(session, build)
        hooks.note(ctx, session, [build])
        reply = build_json(ctx, build)
        session.flush()
        announce(session, "cancel")
        if batches.releases(session.connection(), build):
            announce(session, "new")
    return JSONResponse(reply)


def _delete(session: Session, user: User, build_id: int) -> Build:
    build = get_build(session, build_id)
    project = build.project
    may = permissions.may(session.connection(), user, project, "admin") or (
        build.submitter == user.name
        and permissions.may(session.connection(), user, project, "builder")
    )
    if not may:
        raise ApiError(403, f"You are not allowed to delete build `{build_id}`.")
    if in_progress(session, build):
        remedy = f"wait for it, or copr-cli cancel {build_id}"
        if build.canceled:
            remedy = "its tasks are being stopped; try again in a moment"
        raise ApiError(409, f"Build {build_id} is not finished: {remedy}")
    session.delete(build)
    return build


def _note(session: Session, builds: Sequence[Build]) -> list[int] | None:
    noted = actions.delete_builds(session, builds)
    return None if books.in_hand(session, builds) else noted


def _gone(ctx: Context, builds: Sequence[Build], noted: list[int] | None) -> None:
    """After the commit."""
    for project in {build.project_id for build in builds}:
        ctx.marks.forget(project)
    housekeeping.remove_builds(ctx, builds, noted)


@router.post("/build/delete/list", operation_id="build_delete_list_post", openapi_extra=_LIST)
@router.delete("/build/delete/list", openapi_extra=_LIST)
def build_delete_list(ctx: Ctx, user: CurrentUser, body: JsonObject) -> Response:
    """Delete several finished builds, or none of them."""
    numbers = names.builds(body.get("builds"))
    with ctx.writing() as session:
        builds = [_delete(session, user, number) for number in dict.fromkeys(numbers)]
        noted = _note(session, builds)
    _gone(ctx, builds, noted)
    return JSONResponse({"builds": numbers})


@router.post("/build/delete/{build_id:int}", operation_id="build_delete_post")
@router.delete("/build/delete/{build_id:int}")
def build_delete(ctx: Ctx, user: CurrentUser, build_id: int) -> Response:
    """Delete one finished build."""
    with ctx.writing() as session:
        build = _delete(session, user, build_id)
        reply = build_json(ctx, build)
        noted = _note(session, [build])
    _gone(ctx, [build], noted)
    return JSONResponse(reply)
