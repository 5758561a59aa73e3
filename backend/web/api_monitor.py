"""API v3: the latest builds of a project at a glance."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend.constants import Status
from backend.web import latest
from backend.web.errors import ApiError
from backend.web.models import Build, Project
from backend.web.queries import get_project
from backend.web.request import Ctx
from backend.web.store import Context

router = APIRouter(prefix="/api_3")
_LOGS = {
    "url_build_log": "builder-live.log.gz",
    "url_backend_log": "backend.log.gz",
}
_FIELDS = (*_LOGS, "url_build")
Extra = Annotated[str, Field(json_schema_extra={"enum": list(_FIELDS)})]


def _dirname(session: Session, project: Project, name: str | None) -> str:
    """A directory of the project that has builds, or its own; 404 for any other."""
    if not name or name == project.name:
        return project.name
    known = select(Build.id).where(Build.project_id == project.id, Build.dirname == name)
    if session.scalar(known.limit(1)) is None:
        raise ApiError(404, f"CoprDir {name[:100]!r} doesn't exist in {project.full_name!r}")
    return name


def _link(ctx: Context, project: Project, row: Any, field: str) -> str | None:
    """One of `_FIELDS` of the latest build in a chroot."""
    if field == "url_build":
        return f"{ctx.config.public_url}/coprs/build/{row.id}"
    if not row.result_dir:
        return None
    where = f"{project.owner}/{row.dirname}/{row.name}/{row.result_dir}"
    return f"{ctx.config.results_url}/{where}/{_LOGS[field]}"


@router.get("/monitor")
def monitor(
    *,
    ctx: Ctx,
    ownername: str,
    projectname: str,
    project_dirname: str | None = None,
    additional_fields: Annotated[list[Extra] | None, Query(alias="additional_fields[]")] = None,
) -> Response:
    """The latest build of each package in each chroot."""
    wanted = additional_fields or []
    bad = sorted({field[:100] for field in wanted if field not in _FIELDS})
    if bad:
        raise ApiError(400, f"Wrong additional_fields argument(s): {', '.join(bad)}")
    packages: dict[str, dict[str, Any]] = {}
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
        for row in latest.by_chroot(session, project, _dirname(session, project, project_dirname)):
            chroots = packages.setdefault(row.pkg_name, {})
            chroots[row.name] = {
                "state": Status(row.status).label,
                "status": row.status,
                "build_id": row.id,
                "pkg_version": row.pkg_version,
                **{field: _link(ctx, project, row, field) for field in wanted},
            }
    items = [{"name": name, "chroots": chroots} for name, chroots in sorted(packages.items())]
    message = "Project monitor request successful"
    return JSONResponse({"output": "ok", "message": message, "packages": items})
