"""Packages of a project: looking them up, and what a package forbids its builds."""

import fnmatch

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.web.errors import ApiError
from backend.web.models import Package, Project


def find_package(session: Session, project: Project, name: str) -> Package | None:
    """The package of that name."""
    query = select(Package).where(Package.project_id == project.id, Package.name == name)
    return session.scalar(query)


def get_package(session: Session, project: Project, name: object) -> Package:
    """The same, or 404."""
    text = name if isinstance(name, str) else ""
    package = find_package(session, project, text) if text else None
    if package is None:
        raise ApiError(404, f"No package with name {text[:100]} in copr {project.full_name}")
    return package


def denied(package: Package, project: Project) -> list[str]:
    """Chroots of the project that the package is not built for."""
    patterns = [word.strip() for word in package.options.get("chroot_denylist", "").split(",")]
    return [
        chroot
        for chroot in project.chroots
        if any(word and fnmatch.fnmatchcase(chroot, word) for word in patterns)
    ]
