"""Pages for people: what is happening now, workers, search, where the token is."""

import os
import shutil
from typing import Any

from fastapi import APIRouter
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from backend.constants import SRPM_CHROOT, Status
from backend.web import activity, rows, samples, summaries
from backend.web.models import Build, BuildChroot, Project
from backend.web.request import Ctx
from backend.web.show import Shown
from backend.web.states import now
from backend.web.store import Context

router = APIRouter()
_RECENT = 20
_LISTED = 15
_BUSY = (int(Status.STARTING), int(Status.RUNNING))


def _ids(session: Session, statuses: tuple[int, ...], limit: int) -> list[int]:
    """Builds with a task of these statuses, oldest first."""
    sources = select(Build.id).where(Build.source_status.in_(statuses)).order_by(Build.id)
    chroots = (
        select(BuildChroot.build_id)
        .where(BuildChroot.status.in_(statuses))
        .order_by(BuildChroot.build_id)
        .distinct()
    )
    found = {
        number for query in (sources, chroots) for number in session.scalars(query.limit(limit))
    }
    return sorted(found)[:limit]


def overview(ctx: Context, session: Session) -> dict[str, Any]:
    """What runs, waits and ended lately."""
    running = summaries.of(ctx, session, _ids(session, _BUSY, _LISTED))
    busy = {item["id"] for item in running}
    pending = _ids(session, (int(Status.PENDING),), _LISTED + len(busy))
    waiting = summaries.of(ctx, session, [number for number in pending if number not in busy])
    recent = select(Build.id).join(Project).where(Project.deleted_on.is_(None))
    newest = session.scalars(recent.order_by(Build.id.desc()).limit(_RECENT + 2 * _LISTED)).all()
    seen = busy | {item["id"] for item in waiting}
    return {
        "running": [item for item in running if item["state"] != "canceled"],
        "waiting": [item for item in waiting if item["state"] == "pending"],
        "recent": summaries.of(ctx, session, [n for n in newest if n not in seen][:_RECENT]),
        "counts": samples.counts(session),
    }


def disks(ctx: Context) -> list[dict[str, Any]]:
    """Free space where results and state are kept."""
    found: dict[int, dict[str, Any]] = {}
    for name, path in (("results", ctx.config.destdir), ("state", ctx.config.statedir)):
        try:
            usage, device = shutil.disk_usage(path), path.stat().st_dev
        except OSError:
            continue
        if device in found:
            found[device]["name"] += f" and {name}"
        else:
            share = 100 * usage.used // usage.total if usage.total else 0
            found[device] = {
                "name": name, "free": usage.free, "total": usage.total, "used": share
            }  # fmt: skip
    return list(found.values())


@router.get("/")
def front(ctx: Ctx, viewer: Shown) -> Response:
    """What is running, what waits, what ended lately."""
    with ctx.reading() as session:
        values = overview(ctx, session)
        values["plots"] = activity.of(ctx, session, now(), values["counts"])
        alive = select(Project).where(Project.deleted_on.is_(None))
        values["projects"] = list(session.scalars(alive.order_by(Project.id.desc()).limit(12)))
    view = ctx.look()
    return viewer.page("index.html", view=view, disks=disks(ctx), chroots=ctx.chroots, **values)


@router.get("/workers")
@router.get("/workers/")
def workers(ctx: Ctx, viewer: Shown) -> Response:
    """Each worker and what it does, and the machine."""
    view = ctx.look()
    numbers = {_number(worker.task) for worker in view.workers if worker.task}
    with ctx.reading() as session:
        builds = rows.builds(session.connection(), numbers - {0}) if numbers - {0} else {}
    names = {
        number: f"{build.project.owner}/{build.project.name} {build.pkg_name or ''}".strip()
        for number, build in builds.items()
    }
    groups = {group.id: group for group in ctx.config.groups}
    shown = [
        {
            "name": worker.name,
            "group": groups[worker.group].name if worker.group in groups else worker.group,
            "task": worker.task,
            "build": _number(worker.task),
            "chroot": worker.task.partition("-")[2] or SRPM_CHROOT,
            "what": names.get(_number(worker.task), ""),
            "for": now() - worker.since if worker.task and worker.since else None,
        }
        for worker in view.workers
    ]
    host = {"name": os.uname().nodename, "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    return viewer.page(
        "workers.html", view=view, workers=shown, host=host, disks=disks(ctx), now=now()
    )


def _number(task: str) -> int:
    number = task.partition("-")[0]
    return int(number) if number.isdecimal() and len(number) < 19 else 0


def _like(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{plain}%"


def _projects(words: str) -> "Select[Any]":
    owner, _, name = words.partition("/")
    alive = select(Project).where(Project.deleted_on.is_(None))
    if name or words.endswith("/"):
        found = alive.where(Project.owner == owner, Project.name.like(_like(name), escape="\\"))
    else:
        pattern = _like(words)
        found = alive.where(
            or_(
                Project.name.like(f"%{pattern}", escape="\\"),
                Project.owner.like(pattern, escape="\\"),
            )
        )
    return found.order_by(Project.owner, Project.name).limit(50)


@router.get("/search")
def search(ctx: Ctx, viewer: Shown, q: str = "") -> Response:
    """Projects, packages and builds by the beginning of their names, or a build's number."""
    words = q.strip()[:200]
    projects: list[Project] = []
    builds: list[summaries.Summary] = []
    if words:
        with ctx.reading() as session:
            projects = list(session.scalars(_projects(words)))
            ids: list[int] = []
            if words.isdecimal() and len(words) < 19:
                ids.append(int(words))
            newest = (
                select(func.max(Build.id))
                .join(Project)
                .where(
                    Project.deleted_on.is_(None),
                    Build.pkg_name.like(_like(words), escape="\\"),
                )
                .group_by(Build.project_id, Build.pkg_name)
                .limit(50)
            )
            ids += [number for number in session.scalars(newest) if number not in ids]
            builds = summaries.of(ctx, session, ids)
    return viewer.page("search.html", words=words, projects=projects, builds=builds)


@router.get("/api")
@router.get("/api/")
def api_help(viewer: Shown) -> Response:
    """Where the API token is."""
    return viewer.page("api.html")
