"""Pages for people: what is happening, one build, one project, its .repo file."""

import os
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from sqlalchemy import select, text
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)

from backend.chroot import Chroot
from backend.constants import SRPM_CHROOT, Status
from backend.layout import BUILDER_LOG
from backend.web import files, states
from backend.web.errors import ApiError
from backend.web.models import Build, BuildChroot, Project
from backend.web.queries import get_build, get_project
from backend.web.render import render
from backend.web.request import Ctx
from backend.web.shapes import ended_on, first_failure, open_tasks, source_url
from backend.web.store import Context

router = APIRouter()
_TAIL = 16 * 1024
_RECENT = 30
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _page(template: str, ctx: Context, **values: object) -> Response:
    config = ctx.config
    page = render(template, cli_config=config.web_cli_config, url=config.public_url, **values)
    return HTMLResponse(page, headers=_HEADERS)


def _summary(build: Build) -> dict[str, Any]:
    return {
        "id": build.id,
        "state": states.build_status(build).label,
        "owner": build.project.owner,
        "project": build.project.name,
        "package": build.pkg_name or build.source.get("pkg") or build.source.get("url", ""),
        "version": build.pkg_version or "",
        "submitted_on": build.submitted_on,
        "ended_on": ended_on(build),
        "failure": first_failure(build),
        "open": open_tasks(build),
        "waiting": "",
    }


def _waiting(ctx: Context, summaries: list[dict[str, Any]]) -> None:
    """Say of builds that only wait why the first task of each does."""
    pending = [item for item in summaries if item["state"] == Status.PENDING.label]
    places = ctx.explain([task for item in pending for task in item["open"]])
    for item in pending:
        found = [places[task] for task in item["open"] if task in places]
        item["waiting"] = next((place.text for place in found if place.place == "waiting"), "")


@router.get("/")
def front(ctx: Ctx) -> Response:
    """What is running, what waits, what ended lately."""
    alive = Project.deleted_on.is_(None)
    query = select(Build).join(Project).where(alive).order_by(Build.id.desc())
    chroots = select(BuildChroot.build_id).where(BuildChroot.status.in_(states.ACTIVE))
    active = Build.source_status.in_(states.ACTIVE) | Build.id.in_(chroots)
    with ctx.reading() as session:
        unfinished = query.where(active, Build.canceled.is_(False)).limit(200)
        busy = [_summary(build) for build in session.scalars(unfinished)]
        ids = [item["id"] for item in busy]
        recent = [
            _summary(build)
            for build in session.scalars(query.where(Build.id.not_in(ids)).limit(_RECENT))
        ]
        projects = list(
            session.scalars(select(Project).where(alive).order_by(Project.id.desc()).limit(50))
        )
    _waiting(ctx, busy)
    waiting = Status.PENDING.label
    return _page(
        "index.html",
        ctx,
        running=[item for item in busy if item["state"] != waiting],
        waiting=[item for item in busy if item["state"] == waiting],
        recent=recent,
        projects=projects,
        chroots=ctx.chroots,
    )


def _directory(build: Build, chroot: str, result_dir: str | None) -> str | None:
    """Path of a result directory below destdir and below `/results/`."""
    if not result_dir or "/" in result_dir or result_dir.startswith("."):
        return None
    return f"{build.project.owner}/{build.dirname}/{chroot}/{result_dir}/"


def _task(
    ctx: Context, name: str, row: Build | BuildChroot, directory: str | None, waiting: str
) -> Any:
    size = files.log_size(ctx.config.destdir / directory, BUILDER_LOG) if directory else None
    log = f"/results/{quote(directory)}{BUILDER_LOG}" if directory and size is not None else None
    status = row.source_status if isinstance(row, Build) else row.status
    return {
        "name": name,
        "state": Status(status).label,
        "started_on": row.started_on,
        "ended_on": row.ended_on,
        "failure": row.failure,
        "waiting": waiting,
        "files": f"/results/{quote(directory)}" if directory else None,
        "log": log,
        "log_size": size,
    }


def _tasks(ctx: Context, build: Build) -> list[Any]:
    source = _directory(build, SRPM_CHROOT, build.result_dir)
    places = ctx.explain(open_tasks(build))
    texts = {task: place.text for task, place in places.items() if place.place != "building"}
    tasks = [_task(ctx, "source", build, source, texts.get(str(build.id), ""))]
    for chroot in build.chroots:
        directory = _directory(build, chroot.name, chroot.result_dir)
        waiting = texts.get(f"{build.id}-{chroot.name}", "")
        tasks.append(_task(ctx, chroot.name, chroot, directory, waiting))
    return tasks


def _tail(ctx: Context, log: str | None) -> str:
    """The end of a live log, for readers without JavaScript."""
    if not log:
        return ""
    path = ctx.config.destdir / log.removeprefix("/results/")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        size = os.fstat(fd).st_size
        file.seek(max(0, size - _TAIL))
        return file.read(_TAIL).decode("utf-8", "replace")


@router.get("/coprs/build/{build_id}")
@router.get("/coprs/build/{build_id}/")
def build_page(ctx: Ctx, build_id: int) -> Response:
    """One build."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        tasks = _tasks(ctx, build)
        values = {
            "build": _summary(build),
            "submitter": build.submitter,
            "source": source_url(ctx, build),
            "packages": {c.name: c.packages for c in build.chroots if c.packages},
            "finished": states.is_finished(build),
        }
    tails = {task["name"]: _tail(ctx, task["log"]) for task in tasks}
    return _page("build.html", ctx, tasks=tasks, tails=tails, **values)


@router.get("/coprs/build/{build_id}/state")
def build_state(ctx: Ctx, build_id: int) -> Response:
    """What the build page asks for while it is open."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        reply = {
            "state": states.build_status(build).label,
            "finished": states.is_finished(build),
            "tasks": _tasks(ctx, build),
        }
    return JSONResponse(reply, headers={"Cache-Control": "no-store"})


@router.get("/coprs/{owner}/{name}")
def project_redirect(owner: str, name: str) -> Response:
    """The address without its final slash."""
    return RedirectResponse(f"/coprs/{quote(owner)}/{quote(name)}/", 301)


@router.get("/coprs/{owner}/{name}/")
def project_page(ctx: Ctx, owner: str, name: str) -> Response:
    """One project, and how to install from it."""
    with ctx.reading() as session:
        project = get_project(session, owner, name)
        query = select(Build).where(Build.project_id == project.id).order_by(Build.id.desc())
        builds = [_summary(build) for build in session.scalars(query.limit(100))]
    _waiting(ctx, builds)
    releases: dict[str, list[str]] = {}
    for chroot in project.chroots:
        parsed = Chroot.parse(chroot)
        releases.setdefault(parsed.name_release, []).append(parsed.arch)
    return _page("project.html", ctx, project=project, builds=builds, releases=releases)


@router.get("/coprs/{owner}/{name}/repo/{release}")
@router.get("/coprs/{owner}/{name}/repo/{release}/")
@router.get("/coprs/{owner}/{name}/repo/{release}/{filename}")
def repo_file(ctx: Ctx, owner: str, name: str, release: str, filename: str = "") -> Response:
    """The .repo file for one distribution release."""
    with ctx.reading() as session:
        project = get_project(session, owner, name)
    chroots = [Chroot.parse(chroot) for chroot in project.chroots]
    system = next((chroot.os for chroot in chroots if chroot.name_release == release), None)
    if system is None or (filename and not filename.endswith(".repo")):
        raise ApiError(404, f"Project {project.full_name} has no chroot of {release[:100]}.")
    host = ctx.config.public_url.partition("://")[2].partition("/")[0].partition(":")[0]
    version = release.removeprefix(f"{system}-")
    version = version if system in ("centos-stream", "debian", "epel") else "$releasever"
    base = f"{ctx.config.results_url}/{owner}/{name}"
    lines = (
        f"[copr:{host}:{owner}:{name}]",
        f"name=Copr repo for {name} owned by {owner}",
        f"baseurl={base}/{system}-{version}-$basearch/",
        "type=rpm-md",
        "skip_if_unavailable=True",
        "gpgcheck=0",
        "repo_gpgcheck=0",
        "enabled=1",
        "enabled_metadata=1",
    )
    return PlainTextResponse("\n".join(lines) + "\n")


@router.get("/api")
@router.get("/api/")
def api_help(ctx: Ctx) -> Response:
    """Where the API token is."""
    return _page("api.html", ctx)


@router.get("/healthz")
def healthz(ctx: Ctx) -> Response:
    """Answers 200 while the database does."""
    with ctx.reading() as session:
        session.execute(text("SELECT 1"))
    return JSONResponse({"status": "ok"})
