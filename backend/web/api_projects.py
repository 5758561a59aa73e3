"""API v3: projects, chroots, packages, the monitor."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend.constants import Source, Status
from backend.web import housekeeping, names
from backend.web.errors import ApiError
from backend.web.models import Package, Project, User
from backend.web.queries import builds_of, find_project, get_project, in_progress
from backend.web.request import Ctx, CurrentUser, JsonObject
from backend.web.shapes import SETTINGS, build_json, page, project_json
from backend.web.states import now

router = APIRouter(prefix="/api_3")
Limit = Annotated[int | None, Query(ge=1, le=100_000)]
Offset = Annotated[int, Query(ge=0, le=2**31)]


@router.get("/auth-check")
def auth_check(user: CurrentUser) -> Response:
    """Whose token is it?"""
    return JSONResponse({"name": user.name, "id": user.id})


@router.get("/mock-chroots/list")
def mock_chroots(ctx: Ctx) -> Response:
    """Chroots that can be built for."""
    return JSONResponse(dict.fromkeys(ctx.chroots, ""))


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    given = dict(body)
    if given.get("repos") is not None:  # its name in project/edit
        given["additional_repos"] = given["repos"]
    settings = {key: given[key] for key in SETTINGS if given.get(key) is not None}
    for key, value in settings.items():
        default = SETTINGS[key]
        if isinstance(default, bool | list | str) and not isinstance(value, type(default)):
            raise ApiError(400, f"{key}: must be a {type(default).__name__}")
    names.strings(settings.get("additional_repos"), "additional_repos")
    return settings


def _description(body: dict[str, Any], default: str) -> str:
    value = body.get("description")
    if value is not None and not isinstance(value, str):
        raise ApiError(400, "description: must be text")
    return default if value is None else value


def own_project(session: Session, user: User, owner: str, name: str, verb: str) -> Project:
    """The user's own project, 404 if there is none, 403 if it is somebody else's."""
    project = get_project(session, owner, name)
    if project.owner != user.name:
        raise ApiError(403, f"Only owners and admins may {verb} their projects.")
    return project


@router.post("/project/add/{ownername}")
def project_add(
    ctx: Ctx, user: CurrentUser, ownername: str, body: JsonObject, exist_ok: bool = False
) -> Response:
    """Create a project."""
    if ownername != user.name:
        raise ApiError(403, f"User {user.name} is not allowed to create projects of {ownername}")
    name = names.project_name(body.get("name"))
    chroots = names.chroots(body.get("chroots"), ctx.chroots, " here")
    settings, description = _settings(body), _description(body, "")
    with ctx.writing() as session:
        project = find_project(session, ownername, name)
        if project is not None and not exist_ok:
            raise ApiError(400, f"name: You already have a project named {name!r}.")
        if project is None:
            project = Project(
                owner=ownername,
                name=name,
                description=description,
                settings=settings,
                chroots=chroots or list(ctx.chroots),
                created_on=now(),
            )
            session.add(project)
            session.flush()
        reply = project_json(ctx, project)
    return JSONResponse(reply)


@router.get("/project")
def project_get(ctx: Ctx, ownername: str, projectname: str) -> Response:
    """One project."""
    with ctx.reading() as session:
        return JSONResponse(project_json(ctx, get_project(session, ownername, projectname)))


@router.get("/project/list")
def project_list(
    ctx: Ctx, ownername: str | None = None, limit: Limit = None, offset: Offset = 0
) -> Response:
    """Projects, of one owner or of all."""
    query = select(Project).where(Project.deleted_on.is_(None)).order_by(Project.id)
    if ownername is not None:
        query = query.where(Project.owner == ownername)
    with ctx.reading() as session:
        found = session.scalars(query.offset(offset).limit(limit or 2**31))
        items = [project_json(ctx, project) for project in found]
    return JSONResponse(page(items, limit, offset))


@router.api_route("/project/edit/{ownername}/{projectname}", methods=["PUT", "POST"])
def project_edit(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, body: JsonObject
) -> Response:
    """Change what is given, keep the rest; `chroots` is the complete new set."""
    settings = _settings(body)
    with ctx.writing() as session:
        project = own_project(session, user, ownername, projectname, "update")
        available = list(dict.fromkeys((*ctx.chroots, *project.chroots)))
        project.chroots = names.chroots(body.get("chroots"), available, " here") or project.chroots
        project.description = _description(body, project.description)
        project.settings = {**project.settings, **settings}
        reply = project_json(ctx, project)
    return JSONResponse(reply)


@router.api_route("/project/delete/{ownername}/{projectname}", methods=["DELETE", "POST"])
def project_delete(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, body: JsonObject
) -> Response:
    """Delete a project and its results."""
    if body.get("verify") is not True:
        raise ApiError(400, "verify: The parameter `verify` must be true to delete a project.")
    with ctx.writing() as session:
        project = own_project(session, user, ownername, projectname, "delete")
        builds = builds_of(session, project)
        busy = [str(build.id) for build in builds if in_progress(session, build)]
        if busy:
            raise ApiError(
                409, f"Project {project.full_name} has unfinished builds, wait for them or"
                f" cancel them first: copr-cli cancel {busy[0]}"
            )  # fmt: skip
        reply = project_json(ctx, project)
        project.deleted_on = now()
    for build in builds:
        housekeeping.forget_upload(ctx, build)
    housekeeping.remove_project(ctx, project)
    return JSONResponse(reply)


@router.get("/project-chroot")
def project_chroot(ctx: Ctx, ownername: str, projectname: str, chrootname: str) -> Response:
    """Settings of one chroot of a project."""
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
    if chrootname not in project.chroots:
        raise ApiError(404, f"No mock chroot {chrootname[:100]} in project {project.full_name}.")
    lists = ("additional_repos", "additional_packages", "additional_modules")
    return JSONResponse(
        {name: [] for name in (*lists, "with_opts", "without_opts")}
        | {
            "isolation": "unchanged",
            "mock_chroot": chrootname,
            "ownername": ownername,
            "projectname": projectname,
            "comps_name": None,
            "delete_after_days": None,
        }
    )


@router.get("/package/list")
def package_list(
    *,
    ctx: Ctx,
    ownername: str,
    projectname: str,
    limit: Limit = None,
    offset: Offset = 0,
    with_latest_build: bool = False,
    with_latest_succeeded_build: bool = False,
) -> Response:
    """Packages that were built in a project."""
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
        query = select(Package).where(Package.project_id == project.id).order_by(Package.id)
        found = session.scalars(query.offset(offset).limit(limit or 2**31)).all()
        builds = builds_of(session, project) if found else []
        items = []
        for package in found:
            own = [build_json(ctx, b) for b in reversed(builds) if b.pkg_name == package.name]
            good = [build for build in own if build["state"] == Status.SUCCEEDED.label]
            latest = own[0] if own and with_latest_build else None
            succeeded = good[0] if good and with_latest_succeeded_build else None
            url = own[0]["source_package"]["url"] if own else None
            items.append(
                {
                    "id": package.id,
                    "name": package.name,
                    "ownername": ownername,
                    "projectname": projectname,
                    "source_type": Source.LINK.name.lower(),
                    "source_dict": {"url": url},
                    "auto_rebuild": False,
                    "builds": {"latest": latest, "latest_succeeded": succeeded},
                }
            )
    return JSONResponse(page(items, limit, offset))


@router.get("/monitor")
def monitor(
    ctx: Ctx, ownername: str, projectname: str, project_dirname: str | None = None
) -> Response:
    """The latest build of each package in each chroot."""
    packages: dict[str, dict[str, Any]] = {}
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
        wanted = project_dirname or project.name
        for build in builds_of(session, project):
            if build.dirname != wanted or not build.pkg_name:
                continue
            for chroot in build.chroots:
                packages.setdefault(build.pkg_name, {})[chroot.name] = {
                    "state": Status(chroot.status).label,
                    "status": chroot.status,
                    "build_id": build.id,
                    "pkg_version": build.pkg_version,
                }
    items = [{"name": name, "chroots": chroots} for name, chroots in sorted(packages.items())]
    message = "Project monitor request successful"
    return JSONResponse({"output": "ok", "message": message, "packages": items})
