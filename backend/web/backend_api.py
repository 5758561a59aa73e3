"""The `/backend/` namespace: what the build backend polls and reports to."""

import re
from typing import Any

from fastapi import APIRouter, Depends
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backend.constants import Status
from backend.web import actions, batches, hooks, housekeeping, rows, states, tasks, verdicts
from backend.web.errors import ApiError
from backend.web.models import Build, BuildChroot, CancelRequest, Project
from backend.web.request import (
    Ctx,
    JsonObject,
    check_backend,
    context,
    json_object,
    require_backend,
)
from backend.web.store import Context
from backend.web.writer import Rows, announce

router = APIRouter(prefix="/backend")
_WRITE: dict[str, Any] = {"methods": ["POST", "PUT"], "dependencies": [Depends(require_backend)]}
_ACTIVE = tuple(int(status) for status in states.ACTIVE)


@router.get("/pending-jobs")
def pending_jobs(ctx: Ctx) -> Response:
    """Every task that is not finished."""
    order = (Build.background, Build.id)
    sources = (
        select(*tasks.COLUMNS, tasks.SCRIPT_CHROOT)
        .join(Project, Build.project_id == Project.id)
        .where(Build.source_status.in_(_ACTIVE), Build.canceled.is_(False))
        .order_by(*order)
    )
    rpms = (
        select(*tasks.COLUMNS, BuildChroot.name)
        .join(Project, Build.project_id == Project.id)
        .join(BuildChroot, BuildChroot.build_id == Build.id)
        .where(BuildChroot.status.in_(_ACTIVE), Build.canceled.is_(False))
        .order_by(*order, BuildChroot.name)
    )
    with ctx.reading() as session:
        found: list[tuple[Any, Any, Any]] = [
            (row, None, row[6] or None) for row in session.execute(sources)
        ]
        found += [(row, row[6], None) for row in session.execute(rpms)]
        named = {row[5] for row, _, _ in found} - {None}
        held = batches.blocked(session.connection(), named) if named else {}
    return JSONResponse([tasks.short(*entry) for entry in found if entry[0][5] not in held])


@router.get("/get-srpm-build-task/{build_id}")
def get_srpm_build_task(ctx: Ctx, build_id: int) -> Response:
    """The full record of a source task."""
    with ctx.reading() as session:
        build = session.get(Build, build_id)
        if build is None:
            raise ApiError(404, "Specified task ID not found")
        record = tasks.source_record(ctx, build)
    return JSONResponse(record)


@router.get("/get-build-task/{task_id}")
def get_build_task(ctx: Ctx, task_id: str) -> Response:
    """The full record of an RPM task; null when the project dropped the chroot."""
    number, _, chroot = task_id.partition("-")
    with ctx.reading() as session:
        build = session.get(Build, int(number)) if _is_id(number) else None
        names = [item.name for item in build.chroots] if build else []
        if build is None or chroot not in names or not build.pkg_name:
            raise ApiError(404, "Specified task ID not found")
        if chroot not in build.project.chroots:
            return JSONResponse(None)
        record = tasks.rpm_record(ctx, build, chroot)
    return JSONResponse(record)


async def starting_build(request: Request) -> Response:
    """May the backend start this task?

    With `want_task` (our own extension) the answer holds the task's record, and the task is
    running: one request in place of three.
    """
    ctx = context(request)
    check_backend(request, ctx)
    body = await json_object(request)
    build_id = _identity(body, "build_id")
    _check_status(body)
    want_task = body.get("want_task") is True
    uploads: list[Build] = []

    def start(found: Rows) -> dict[str, Any]:
        connection = found.connection()
        build = rows.builds(connection, [build_id]).get(build_id)
        if build is None or build.canceled:
            return {"can_start": False}
        answer: dict[str, Any] = {"can_start": True}
        if want_task:
            answer = _start_running(ctx, build, body)
        else:
            states.apply(build, body | {"status": int(Status.STARTING)})
        rows.save(connection, [build])
        if not answer["can_start"]:  # what ended a task
            hooks.note(ctx, found, [build])
            uploads.extend([build] if states.upload_is_done(build) else [])
        return answer

    reply = await ctx.write_rows(start)
    if uploads:
        await run_in_threadpool(_forget_uploads, ctx, uploads)
    return JSONResponse(reply)


def _start_running(ctx: Context, build: Build, body: dict[str, Any]) -> dict[str, Any]:
    task_id = str(body.get("task_id"))
    if states.is_over(build, task_id):  # `starting` alone is no lock, at any frontend
        return {"can_start": False}
    if task_id == str(build.id):
        record = tasks.source_record(ctx, build)
        where = f"{build.id:08d}"
    else:
        chroot = states.task_chroot(build, task_id)
        if chroot is None or not build.pkg_name:
            return {"can_start": False}
        if chroot.name not in build.project.chroots:
            states.drop(chroot)
            return {"can_start": False}
        record = tasks.rpm_record(ctx, build, chroot.name)
        where = f"{build.id:08d}-{build.pkg_name}"
    for status in (Status.STARTING, Status.RUNNING):
        states.apply(build, body | {"status": int(status), "result_dir": where})
    return {"can_start": True, "task": record}


async def update(request: Request) -> Response:
    """Take over what the backend reports about builds."""
    ctx = context(request)
    check_backend(request, ctx)
    body = await json_object(request)
    reply: dict[str, list[int]] = {}
    if "builds" in body:
        builds = {_identity(build, "id"): build for build in _objects(body, "builds")}
        for build in builds.values():
            _check_status(build)
        known, uploads = await ctx.write_rows(lambda found: _take_over(ctx, found, builds))
        for report in builds.values():
            ctx.tally.count(report)
        if uploads:
            await run_in_threadpool(_forget_uploads, ctx, uploads)
        reply["updated_builds_ids"] = [number for number in builds if number in known]
        reply["non_existing_builds_ids"] = [number for number in builds if number not in known]
    if "actions" in body:
        reported = {_identity(action, "id"): action for action in _objects(body, "actions")}
        ended = await ctx.write(lambda session: actions.end(session, reported))
        reply["updated_actions_ids"] = [number for number in reported if number in ended]
        reply["non_existing_actions_ids"] = [number for number in reported if number not in ended]
    return JSONResponse(reply)


def _take_over(
    ctx: Context, session: Rows, builds: dict[int, dict[str, Any]]
) -> tuple[set[int], list[Build]]:
    """Ids of the builds that exist, and those whose upload is not needed any more."""
    connection = session.connection()
    found = rows.builds(connection, builds)
    uploads = []
    for number, build in found.items():
        if states.apply(build, builds[number]):
            pending = sorted(c.name for c in build.chroots if c.status == Status.PENDING)
            announce(session, "new", [tasks.short_of(build, name) for name in pending])
        if states.upload_is_done(build):
            uploads.append(build)
        if batches.releases(connection, build):
            announce(session, "new")
    rows.save(connection, found.values())
    hooks.note(ctx, session, found.values())
    for number in found:
        verdicts.remember(connection, number, builds[number])
    return set(found), uploads


def _forget_uploads(ctx: Context, builds: list[Build]) -> None:
    for build in builds:
        housekeeping.forget_upload(ctx, build)


#: What the backend calls for every task. The app answers these before it looks at anything else.
HOT = {"/backend/starting_build": starting_build, "/backend/update": update}
for _path, _endpoint in HOT.items():
    router.add_route(_path, _endpoint, methods=["POST", "PUT"])


@router.api_route("/reschedule_build_chroot", **_WRITE)
def reschedule_build_chroot(ctx: Ctx, body: JsonObject) -> Response:
    """Put one starting or running task back to pending."""
    build_id = _identity(body, "build_id")
    with ctx.writing() as session:
        build = session.get(Build, build_id)
        if build is None:
            return JSONResponse({"result": "noop", "msg": f"Build {build_id} wasn't found"})
        problem = states.reschedule(build, str(body.get("task_id")))
        if problem:
            return JSONResponse({"result": "noop", "msg": problem})
        announce(session, "new")
    return JSONResponse({"result": "done"})


@router.get("/build-tasks/cancel-requests")
def cancel_requests(ctx: Ctx) -> Response:
    """Tasks to stop, until each is acknowledged."""
    order = (CancelRequest.build_id, CancelRequest.task_id)
    with ctx.reading() as session:
        tasks = session.scalars(select(CancelRequest.task_id).order_by(*order)).all()
    return JSONResponse(list(tasks))


@router.api_route("/build-tasks/canceled/{task_id}", **_WRITE)
def canceled(ctx: Ctx, task_id: str) -> Response:
    """The backend acknowledges a cancel request."""
    with ctx.writing() as session:
        build = states.acknowledge(session, task_id)
        done = build is not None and states.upload_is_done(build)
        if build is not None:
            hooks.note(ctx, session, [build])
    if build is not None and done:
        housekeeping.forget_upload(ctx, build)
    return JSONResponse("success")


def _is_id(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,18}", text))


def _objects(body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = body[key]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ApiError(400, f"{key} must be a list of objects")
    return items


def _identity(record: dict[str, Any], key: str) -> int:
    number = record.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**63:
        raise ApiError(400, f"{key} must be an integer")
    return number


def _check_status(record: dict[str, Any]) -> None:
    status = record.get("status")
    if status is not None and status not in list(Status):
        raise ApiError(400, f"status {str(status)[:40]!r} is none of the known numbers")
