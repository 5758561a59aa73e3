"""For machines: health, status, badges, a feed; `metrics` is apart."""

import html
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from sqlalchemy import func, select, text
from starlette.responses import JSONResponse, Response

from backend import __version__
from backend.web import plots, rows, samples, states, summaries
from backend.web.errors import ApiError
from backend.web.models import Build, Project
from backend.web.pages import disks
from backend.web.queries import get_project
from backend.web.request import Ctx

router = APIRouter()
_FRESH = {"Cache-Control": "no-store"}


@router.get("/healthz")
def healthz(ctx: Ctx) -> Response:
    """Answers 200 while the database does."""
    with ctx.reading() as session:
        session.execute(text("SELECT 1"))
    return JSONResponse({"status": "ok"}, headers=_FRESH)


@router.get("/readyz")
def readyz(ctx: Ctx) -> Response:
    """200 if what is submitted now would be built; 503 with the reasons otherwise."""
    with ctx.reading() as session:
        session.execute(text("SELECT 1"))
    view = ctx.look()
    reasons = [view.problem] if view.problem else []
    if not view.problem:
        if view.drained:
            reasons.append(f"drained: {view.drained}")
        if view.full:
            reasons.append(f"disk nearly full: {view.full}")
        if not view.workers:
            reasons.append("no worker is there")
        if trouble := view.grabber.get("trouble"):
            reasons.append(f"job grabber: {trouble}")
    body = {"status": "not ready" if reasons else "ready", "reasons": reasons}
    return JSONResponse(body, 503 if reasons else 200, headers=_FRESH)


@router.get("/status.json")
def status(ctx: Ctx) -> Response:
    """What is going on, in one object."""
    view = ctx.look()
    with ctx.reading() as session:
        counts = samples.counts(session)
    return JSONResponse(
        {
            "version": __version__,
            "problem": view.problem or None,
            "tasks": {"running": counts.running, "waiting": counts.waiting, "queued": view.queued},
            "workers": [
                {"name": w.name, "group": w.group, "task": w.task or None, "since": w.since}
                for w in view.workers
            ],
            "hosts": list(view.hosts),
            "host_troubles": list(view.host_troubles),
            "reports_undelivered": view.reports,
            "publishing": asdict(view.publishing),
            "drained": view.drained or None,
            "disk_full": view.full or None,
            "grabber": view.grabber,
            "ended": dict(ctx.tally.ended),
            "failed_by_kind": dict(ctx.tally.kinds),
            "disks": disks(ctx),
        },
        headers=_FRESH,
    )


@router.get("/coprs/{owner}/{name}/package/{package}/badge.svg")
@router.get("/coprs/{owner}/{name}/badge.svg")
def badge(ctx: Ctx, owner: str, name: str, package: str = "") -> Response:
    """How the newest build of a project, or of one package in it, is doing."""
    with ctx.reading() as session:
        project = get_project(session, owner, name)
        query = select(func.max(Build.id)).where(Build.project_id == project.id)
        if package:
            query = query.where(Build.pkg_name == package)
        newest = session.scalar(query)
        found = rows.builds(session.connection(), [newest]) if newest else {}
    if package and not found:
        raise ApiError(404, f"Nothing was built of {package[:100]} in {project.full_name}.")
    state = next((states.build_status(build).label for build in found.values()), "no build")
    good = {"succeeded": True, "failed": False}.get(state)
    picture = str(plots.badge(package[:60] or "copr build", state, good))
    return Response(picture, media_type="image/svg+xml", headers={"Cache-Control": "no-cache"})


@router.get("/feed.atom")
@router.get("/coprs/{owner}/{name}/feed.atom")
def feed(ctx: Ctx, owner: str = "", name: str = "") -> Response:
    """The newest builds, of all projects or of one."""
    query = select(Build.id).join(Project).where(Project.deleted_on.is_(None))
    with ctx.reading() as session:
        if name:
            query = select(Build.id).where(Build.project_id == get_project(session, owner, name).id)
        ids = session.scalars(query.order_by(Build.id.desc()).limit(40)).all()
        items = summaries.of(ctx, session, ids)
    title = f"Builds of {owner}/{name}" if name else "Builds"
    base = ctx.config.public_url
    here = f"{base}/coprs/{quote(owner)}/{quote(name)}/" if name else f"{base}/"
    moments = [_moment(item) for item in items]
    updated = max(moments, default="1970-01-01T00:00:00+00:00")
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"<title>{_xml(title)}</title><id>{_xml(here)}</id><updated>{updated}</updated>",
        f'<link href="{_xml(here)}"/><author><name>Copr</name></author>',
        *(_entry(base, item) for item in items),
        "</feed>",
    ]
    return Response("\n".join(lines) + "\n", media_type="application/atom+xml")


def _moment(item: dict[str, Any]) -> str:
    return datetime.fromtimestamp(item["ended_on"] or item["submitted_on"], UTC).isoformat()


def _xml(value: object) -> str:
    return html.escape("".join(c for c in str(value) if c.isprintable()), quote=True)


def _entry(base: str, item: dict[str, Any]) -> str:
    address = f"{base}/coprs/build/{item['id']}"
    title = (
        f"{item['owner']}/{item['project']} {item['package']} {item['version']}: {item['state']}"
    )
    return (
        f"<entry><id>{_xml(address)}/{_xml(item['state'])}</id><title>{_xml(title)}</title>"
        f'<updated>{_moment(item)}</updated><link href="{_xml(address)}"/>'
        f"<summary>{_xml(item['failure'] or item['waiting'] or item['state'])}</summary></entry>"
    )
