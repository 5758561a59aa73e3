"""JSON objects of API v3."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from backend.constants import Source, Status
from backend.web import settings
from backend.web.models import Build, BuildChroot, Project
from backend.web.states import ACTIVE, build_status, is_binary, is_finished
from backend.web.store import Context


def page(
    items: Sequence[Any],
    limit: int | None = None,
    offset: int | None = 0,
    order: str = "id",
    order_type: str = "ASC",
) -> dict[str, Any]:
    """A list as clients expect it."""
    meta = {"limit": limit, "offset": offset, "order": order, "order_type": order_type}
    return {"items": list(items), "meta": meta}


def project_json(ctx: Context, project: Project) -> dict[str, Any]:
    """PROJECT."""
    base = f"{ctx.config.results_url}/{project.owner}/{project.name}"
    own = {key: value for key, value in project.settings.items() if key not in settings.HIDDEN}
    return {
        **settings.SHOWN,
        **own,
        "storage": settings.STORAGE,
        "name": project.name,
        "description": project.description,
        "id": project.id,
        "ownername": project.owner,
        "full_name": project.full_name,
        "chroot_repos": {name: f"{base}/{name}/" for name in project.chroots},
    }


def upload_path(build: Build) -> str:
    """Path of the URL of an uploaded package."""
    name = quote(build.source["pkg"], safe="+~^")
    return f"/tmp/{build.source['tmp']}/{name}"  # noqa: S108  (a URL)


def source_url(ctx: Context, build: Build) -> str | None:
    """Where the source package came from, as people may open it."""
    if is_binary(build):
        return None
    if build.source_type == Source.UPLOAD:
        return ctx.config.public_url + upload_path(build)
    url = build.source.get("url") or build.source.get("clone_url")
    return url if isinstance(url, str) else None


def started_on(build: Build) -> int | None:
    """When its first RPM build began."""
    return min((c.started_on for c in build.chroots if c.started_on), default=None)


def ended_on(build: Build) -> int | None:
    """When its last part ended; None while something is to be done."""
    if not is_finished(build):
        return None
    return max((c.ended_on for c in build.chroots if c.ended_on), default=build.ended_on)


def first_failure(build: Build) -> str | None:
    """One line that says why it failed, if anything did."""
    lines = [f"{c.name}: {c.failure}" for c in build.chroots if c.failure]
    return build.failure or next(iter(lines), None)


def build_json(ctx: Context, build: Build) -> dict[str, Any]:
    """BUILD."""
    project = build.project
    return {
        "chroots": [chroot.name for chroot in build.chroots],
        "ended_on": ended_on(build),
        "id": build.id,
        "is_background": build.background,
        "ownername": project.owner,
        "project_dirname": build.dirname,
        "projectname": project.name,
        "repo_url": f"{ctx.config.results_url}/{project.owner}/{build.dirname}",
        "started_on": started_on(build),
        "state": build_status(build).label,
        "submitted_on": build.submitted_on,
        "submitter": build.submitter,
        "source_package": {
            "name": build.pkg_name,
            "url": source_url(ctx, build),
            "version": build.pkg_version,
        },
    }


def result_url(ctx: Context, build: Build, chroot: BuildChroot) -> str | None:
    """Address of the result directory, once a backend has named it."""
    if not chroot.result_dir:
        return None
    base = f"{ctx.config.results_url}/{build.project.owner}/{build.dirname}"
    return f"{base}/{chroot.name}/{quote(chroot.result_dir, safe='+~^')}/"


def chroot_json(ctx: Context, build: Build, chroot: BuildChroot) -> dict[str, Any]:
    """One chroot of a build."""
    return {
        "started_on": chroot.started_on,
        "ended_on": chroot.ended_on,
        "state": Status(chroot.status).label,
        "name": chroot.name,
        "result_url": result_url(ctx, build, chroot),
    }


def open_tasks(build: Build) -> list[str]:
    """Ids of its tasks that the backend knows as unfinished."""
    if build.canceled:
        return []
    source = [str(build.id)] if build.source_status in ACTIVE else []
    return source + [f"{build.id}-{c.name}" for c in build.chroots if c.status in ACTIVE]
