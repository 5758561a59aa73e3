"""The page of a build: each task with its times, attempts, log, and what failed."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend.constants import SRPM_CHROOT, Source, Status
from backend.layout import BUILDER_LOG, PREVIOUS
from backend.triage import Kind
from backend.web import files, states, summaries, verdicts
from backend.web.models import Build, BuildChroot
from backend.web.queries import get_build
from backend.web.request import Ctx
from backend.web.shapes import open_tasks, source_url
from backend.web.show import Shown
from backend.web.store import Context

router = APIRouter()
_TAIL = 16 * 1024


def directory(build: Build, chroot: str) -> str | None:
    """Path of a task's result directory below destdir and below `/results/`."""
    found = next((c.result_dir for c in build.chroots if c.name == chroot), None)
    name = build.result_dir if chroot == SRPM_CHROOT else found
    if not name or "/" in name or name.startswith("."):
        return None
    return f"{build.project.owner}/{build.dirname}/{chroot}/{name}/"


def _attempts(root: Path, base: str) -> list[dict[str, Any]]:
    """Earlier attempts, whose logs were kept."""
    try:
        with os.scandir(root / PREVIOUS) as entries:
            numbers = sorted(int(entry.name) for entry in entries if entry.name.isdecimal())
    except OSError:
        return []
    here = f"{base}{PREVIOUS}/"
    return [
        {"number": n, "files": f"{here}{n}/", "log": f"{here}{n}/{BUILDER_LOG}"} for n in numbers
    ]


def _task(ctx: Context, build: Build, chroot: BuildChroot | None, waiting: str) -> dict[str, Any]:
    row = build if chroot is None else chroot
    name = SRPM_CHROOT if chroot is None else chroot.name
    status = build.source_status if chroot is None else chroot.status
    where = directory(build, name)
    root = ctx.config.destdir / where if where else None
    base = f"/results/{quote(where)}" if where else None
    size = files.log_size(root, BUILDER_LOG) if root else None
    return {
        "name": name,
        "title": "source package" if chroot is None else name,
        "state": Status(status).label,
        "started_on": row.started_on,
        "ended_on": row.ended_on if status not in states.ACTIVE else None,
        "failure": row.failure,
        "waiting": waiting,
        "pruned_on": row.pruned_on,
        "files": base,
        "log": f"{base}{BUILDER_LOG}" if base and size is not None else None,
        "log_size": size,
        "attempts": _attempts(root, base) if root and base else [],
    }


def tasks(ctx: Context, build: Build) -> list[dict[str, Any]]:
    """Every task of a build, its source task first; that of an uploaded package has none."""
    places = ctx.explain(open_tasks(build))
    texts = {task: place.text for task, place in places.items()}
    binary = states.is_binary(build)
    found = [] if binary else [_task(ctx, build, None, texts.get(str(build.id), ""))]
    for chroot in build.chroots:
        found.append(_task(ctx, build, chroot, texts.get(f"{build.id}-{chroot.name}", "")))
    return found


def _verdicts(session: Session, build: Build) -> dict[str, dict[str, Any]]:
    """Why each failed task has failed."""
    known = verdicts.of(session, [build.id])
    found = {}
    for chroot in (None, *build.chroots):
        verdict = verdicts.of_task(known, build, chroot)
        if verdict is not None:
            meaning = Kind(verdict["kind"]).meaning
            found[chroot.name if chroot else SRPM_CHROOT] = {**verdict, "meaning": meaning}
    return found


def _tail(ctx: Context, task: dict[str, Any]) -> str:
    """The end of a live log, for readers without JavaScript."""
    if not task["log"] or task["state"] not in ("running", "starting"):
        return ""
    where = task["log"].removeprefix("/results/")
    path = ctx.config.destdir / where
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        file.seek(max(0, os.fstat(fd).st_size - _TAIL))
        return file.read(_TAIL).decode("utf-8", "replace")


def _source(ctx: Context, build: Build) -> str | None:
    """Where it came from; the address of an upload is gone as soon as the build has it."""
    if states.is_binary(build):
        return f"{build.source['pkg']}, not built here"
    if build.source_type == Source.UPLOAD:
        return f"{build.source.get('pkg', 'a file')}, uploaded"
    return source_url(ctx, build)


@router.get("/coprs/build/{build_id}")
@router.get("/coprs/build/{build_id}/")
def build_page(ctx: Ctx, viewer: Shown, build_id: int) -> Response:
    """One build."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        found = tasks(ctx, build)
        kinds = verdicts.of(session, [build_id])
        values: dict[str, Any] = {
            "build": summaries.of_build(build, kinds),
            "verdicts": _verdicts(session, build),
            "source": _source(ctx, build),
            "packages": {c.name: c.packages for c in build.chroots if c.packages},
            "finished": states.is_finished(build),
            "may_build": viewer.may(session, build.project, "builder"),
            "webhook": build.options.get("webhook"),
            "binary": states.is_binary(build),
        }
    tails = {task["name"]: _tail(ctx, task) for task in found}
    return viewer.page("build.html", tasks=found, tails=tails, **values)


@router.get("/coprs/build/{build_id}/state")
def build_state(ctx: Ctx, build_id: int) -> Response:
    """What the build page asks for while it is open."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        reply = {
            "state": states.build_status(build).label,
            "finished": states.is_finished(build),
            "tasks": tasks(ctx, build),
        }
    return JSONResponse(reply, headers={"Cache-Control": "no-store"})
