"""The page of a project: packages and chroots, how to install from it, its builds; .repo files."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from backend import sign
from backend.chroot import Chroot
from backend.web import rows, settings, summaries, verdicts
from backend.web.errors import ApiError
from backend.web.models import Build, Package, Project, User
from backend.web.queries import get_project
from backend.web.request import Ctx
from backend.web.show import Shown
from backend.web.store import Context

router = APIRouter()
_BUILDS = 30
_PACKAGES = 40
_TARGETS = 200
Number = Annotated[int | None, Query(ge=1, le=2**62)]


@router.get("/coprs/{owner}/{name}")
def project_redirect(owner: str, name: str) -> Response:
    """The address without its final slash."""
    return RedirectResponse(f"/coprs/{quote(owner)}/{quote(name)}/", 301)


@router.get("/coprs/{owner}/{name}/")
def project_page(
    *, ctx: Ctx, viewer: Shown, owner: str, name: str, before: Number = None, after: str = ""
) -> Response:
    """One project. `before` pages its builds by id, `after` its packages by name."""
    with ctx.reading() as session:
        project = get_project(session, owner, name)
        values = _packages(session, project, after) | _builds(ctx, session, project, before)
        values["may_build"] = viewer.may(session, project, "builder")
        values["may_change"] = viewer.may(session, project, "admin")
        values["about"] = {
            key: settings.of(project, key) or "" for key in ("homepage", "contact", "instructions")
        }
        values["targets"] = _targets(session, project, viewer.user)
    releases: dict[str, list[str]] = {}
    for chroot in project.chroots:
        parsed = Chroot.parse(chroot)
        releases.setdefault(parsed.name_release, []).append(parsed.arch)
    return viewer.page(
        "project.html",
        project=project,
        releases=releases,
        first=not before,
        upload_limit=ctx.config.web_max_upload,
        **values,
    )


def _targets(session: Session, project: Project, user: User | None) -> list[tuple[str, str]]:
    """Where the viewer may promote builds to: names, and words for them."""
    if user is None:
        return []
    query = select(Project).where(Project.owner == user.name, Project.deleted_on.is_(None))
    own = session.scalars(query.order_by(Project.name).limit(_TARGETS)).all()
    found = [(p.full_name, p.full_name) for p in own if p.id != project.id]
    if project.owner == user.name and settings.of(project, "devel_mode"):
        found.insert(0, (project.full_name, "its released packages"))
    return found


def _builds(ctx: Context, session: Session, project: Project, before: int | None) -> dict[str, Any]:
    query = select(Build.id).where(Build.project_id == project.id)
    if before:
        query = query.where(Build.id < before)
    ids = list(session.scalars(query.order_by(Build.id.desc()).limit(_BUILDS + 1)))
    return {
        "builds": summaries.of(ctx, session, ids[:_BUILDS]),
        "older": ids[_BUILDS - 1] if len(ids) > _BUILDS else None,
    }


def _packages(session: Session, project: Project, after: str) -> dict[str, Any]:
    """Some packages by name, each with its newest build and that build's chroots."""
    newest = (
        select(func.max(Build.id))
        .where(Build.project_id == project.id, Build.pkg_name == Package.name)
        .correlate(Package)
        .scalar_subquery()
    )
    query = (
        select(Package.name, newest)
        .where(Package.project_id == project.id, Package.name > after[:200])
        .order_by(Package.name)
        .limit(_PACKAGES + 1)
    )
    found = session.execute(query).all()
    ids = [number for _, number in found if number is not None]
    builds = rows.builds(session.connection(), ids) if ids else {}
    kinds: verdicts.Verdicts = {}
    items = [
        {"name": package, "build": summaries.of_build(builds[number], kinds)}
        for package, number in found[:_PACKAGES]
        if number in builds
    ]
    for item in items:
        item["by_chroot"] = {chroot["name"]: chroot for chroot in item["build"]["chroots"]}
    more = found[_PACKAGES - 1][0] if len(found) > _PACKAGES else None
    return {"packages": items, "more_packages": more}


def _trust(ctx: Context, base: str) -> tuple[str, ...]:
    """What readers have to check; `base` is the URL of the project's results."""
    if not sign.signs(ctx.config):
        return ("gpgcheck=0", "repo_gpgcheck=0")
    return ("gpgcheck=1", f"gpgkey={base}/{sign.PUBKEY}", "repo_gpgcheck=1")


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
        *_trust(ctx, base),
        "enabled=1",
        "enabled_metadata=1",
    )
    return PlainTextResponse("\n".join(lines) + "\n")
