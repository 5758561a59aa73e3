"""API v3: looking at builds, canceling and deleting them."""

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend.explain import Place
from backend.web import housekeeping, states, verdicts
from backend.web.api_projects import Limit, Offset
from backend.web.errors import ApiError
from backend.web.models import Build, BuildChroot, User
from backend.web.queries import get_build, get_project, in_progress
from backend.web.request import Ctx, CurrentUser, JsonObject
from backend.web.shapes import build_json, chroot_json, first_failure, open_tasks, page
from backend.web.writer import announce

router = APIRouter(prefix="/api_3")


@router.get("/build/list")
def build_list(
    *,
    ctx: Ctx,
    ownername: str,
    projectname: str,
    packagename: str | None = None,
    status: str | None = None,
    limit: Limit = None,
    offset: Offset = 0,
) -> Response:
    """Builds of a project."""
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
        query = select(Build).where(Build.project_id == project.id).order_by(Build.id)
        if packagename is not None:
            query = query.where(Build.pkg_name == packagename)
        end = None if limit is None else offset + limit
        if status is not None:  # computed, so it cannot be asked of the database
            every = [b for b in session.scalars(query) if states.build_status(b).label == status]
            found = every[offset:end]
        else:
            found = list(session.scalars(query.offset(offset).limit(limit or 2**31)))
        items = [build_json(ctx, build) for build in found]
    return JSONResponse(page(items, limit, offset))


@router.get("/build/built-packages/{build_id}")
def built_packages(ctx: Ctx, build_id: int) -> Response:
    """What came out of a build, by chroot."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        return JSONResponse({c.name: {"packages": c.packages} for c in build.chroots})


@router.get("/build/{build_id}")
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


@router.get("/build/why/{build_id}")
def build_why(ctx: Ctx, build_id: int) -> Response:
    """Where each unfinished task of a build is, and why it waits (our own)."""
    with ctx.reading() as session:
        tasks = open_tasks(get_build(session, build_id))
    places = ctx.explain(tasks)
    unknown = Place(place="unknown", text="the job grabber has not told of it yet")
    items = [{"task_id": task} | places.get(task, unknown).to_dict() for task in tasks]
    return JSONResponse(page(items))


@router.get("/build-chroot/list")
def build_chroot_list(ctx: Ctx, build_id: int, limit: Limit = None, offset: Offset = 0) -> Response:
    """The chroots of a build."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        end = None if limit is None else offset + limit
        items = [chroot_json(ctx, build, chroot) for chroot in build.chroots[offset:end]]
    return JSONResponse(page(items, limit, offset))


@router.get("/build-chroot")
def build_chroot(ctx: Ctx, build_id: int, chrootname: str) -> Response:
    """One chroot of a build."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        chroot = _chroot(build, chrootname)
        found = verdicts.of_task(verdicts.of(session, [build_id]), build, chroot)
        own = {"failure": chroot.failure, "triage": found}
        return JSONResponse(chroot_json(ctx, build, chroot) | own)


def _chroot(build: Build, name: str) -> BuildChroot:
    for chroot in build.chroots:
        if chroot.name == name:
            return chroot
    raise ApiError(404, f"Build {build.id} has no chroot {name[:100]}.")


@router.api_route("/build/cancel/{build_id}", methods=["PUT", "POST"])
def build_cancel(ctx: Ctx, user: CurrentUser, build_id: int) -> Response:
    """Cancel: users see it canceled at once, the backend is told."""
    with ctx.writing() as session:
        build = get_build(session, build_id)
        if build.project.owner != user.name:
            raise ApiError(403, "You are not allowed to cancel this build.")
        if states.is_finished(build):
            raise ApiError(409, f"Cannot cancel build {build_id}")
        states.cancel(session, build)
        reply = build_json(ctx, build)
        announce(session, "cancel")
    return JSONResponse(reply)


def _delete(session: Session, user: User, build_id: int) -> Build:
    build = get_build(session, build_id)
    if build.project.owner != user.name:
        raise ApiError(403, f"You are not allowed to delete build `{build_id}`.")
    if in_progress(session, build):
        raise ApiError(
            409, f"Build {build_id} is not finished: wait for it, or copr-cli cancel {build_id}"
        )
    session.delete(build)
    return build


@router.api_route("/build/delete/list", methods=["DELETE", "POST"])
def build_delete_list(ctx: Ctx, user: CurrentUser, body: JsonObject) -> Response:
    """Delete several finished builds, or none of them."""
    numbers = body.get("builds")
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise ApiError(400, "builds: must be a list of build ids")
    with ctx.writing() as session:
        builds = [_delete(session, user, number) for number in dict.fromkeys(numbers)]
    housekeeping.remove_builds(ctx, builds)
    return JSONResponse({"builds": numbers})


@router.api_route("/build/delete/{build_id}", methods=["DELETE", "POST"])
def build_delete(ctx: Ctx, user: CurrentUser, build_id: int) -> Response:
    """Delete one finished build."""
    with ctx.writing() as session:
        build = _delete(session, user, build_id)
        reply = build_json(ctx, build)
    housekeeping.remove_builds(ctx, [build])
    return JSONResponse(reply)
