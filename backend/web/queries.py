"""Look-ups that API v3 and the pages share; what is missing becomes a 404."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.web.errors import ApiError
from backend.web.models import Build, CancelRequest, Project
from backend.web.states import is_finished


def find_project(session: Session, owner: str, name: str) -> Project | None:
    """The project of that name that is not deleted."""
    return session.scalar(
        select(Project).where(
            Project.owner == owner, Project.name == name, Project.deleted_on.is_(None)
        )
    )


def get_project(session: Session, owner: str, name: str) -> Project:
    """The same, or 404."""
    project = find_project(session, owner, name)
    if project is None:
        raise ApiError(404, f"Project {owner[:100]}/{name[:100]} does not exist.")
    return project


def get_build(session: Session, build_id: int) -> Build:
    """The build, or 404."""
    build = session.get(Build, build_id) if 0 < build_id < 2**31 else None
    if build is None or build.project.deleted_on is not None:
        raise ApiError(404, f"Build {build_id} does not exist.")
    return build


def builds_of(session: Session, project: Project) -> list[Build]:
    """All builds of a project, oldest first."""
    query = select(Build).where(Build.project_id == project.id).order_by(Build.id)
    return list(session.scalars(query))


def in_progress(session: Session, build: Build) -> bool:
    """True while the backend may still work on it, even if users see it canceled."""
    if not is_finished(build):
        return True
    asked = select(CancelRequest.task_id).where(CancelRequest.build_id == build.id).limit(1)
    return session.scalar(asked) is not None
