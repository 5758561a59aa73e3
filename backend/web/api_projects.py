"""API v3: projects."""

import re
from typing import Any

from fastapi import APIRouter
from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend import sign
from backend.web import actions, bodies, hooks, housekeeping, names, openapi, permissions, settings
from backend.web.errors import ApiError
from backend.web.models import Project, User
from backend.web.paging import Paging, Part
from backend.web.queries import builds_of, find_project, get_project, in_progress
from backend.web.request import Ctx, CurrentUser, JsonObject
from backend.web.shapes import project_json
from backend.web.states import now
from backend.web.store import Context

router = APIRouter(prefix="/api_3")
_ADD = openapi.body({**bodies.PROJECT, "name": bodies.PROJECT_NAME}, "name")
_EDIT = openapi.body(bodies.PROJECT_EDIT)
_DELETE = openapi.body({"verify": {"const": True}}, "verify")


@router.get("/mock-chroots/list")
def mock_chroots(ctx: Ctx) -> Response:
    """Chroots that can be built for."""
    return JSONResponse(dict.fromkeys(ctx.chroots, ""))


def _description(body: dict[str, Any], default: str) -> str:
    value = body.get("description")
    if value is not None and not isinstance(value, str):
        raise ApiError(400, "description: must be text")
    return default if value is None else value


def own_project(session: Session, user: User, owner: str, name: str, verb: str) -> Project:
    """A project that the user may change: 404 if there is none, 403 if he may not."""
    project = get_project(session, owner, name)
    if not permissions.may(session.connection(), user, project, "admin"):
        raise ApiError(403, f"Only owners and admins may {verb} their projects.")
    return project


@router.post("/project/add/{ownername}", openapi_extra=_ADD)
def project_add(
    ctx: Ctx, user: CurrentUser, ownername: str, body: JsonObject, exist_ok: bool = False
) -> Response:
    """Create a project."""
    if ownername != user.name:
        raise ApiError(403, f"User {user.name} is not allowed to create projects of {ownername}")
    name = names.project_name(body.get("name"))
    chroots = names.chroots(body.get("chroots"), ctx.chroots, " here")
    given, description = settings.read(body), _description(body, "")
    with ctx.writing() as session:
        project = find_project(session, ownername, name)
        if project is not None and not exist_ok:
            raise ApiError(400, f"name: You already have a project named {name!r}.")
        if project is None:
            actions.check_gone(session, ownername, name)
            project = Project(
                owner=ownername,
                name=name,
                description=description,
                settings=given,
                chroots=chroots or list(ctx.chroots),
                created_on=now(),
            )
            session.add(project)
            session.flush()
            if sign.signs(ctx.config):
                actions.gen_key(session, project)
            actions.new_chroots(session, project, project.chroots)
        reply = project_json(ctx, project)
    return JSONResponse(reply)


@router.get("/project")
def project_get(ctx: Ctx, ownername: str, projectname: str) -> Response:
    """One project."""
    with ctx.reading() as session:
        return JSONResponse(project_json(ctx, get_project(session, ownername, projectname)))


@router.get("/project/list")
def project_list(ctx: Ctx, part: Part, ownername: str | None = None) -> Response:
    """Projects, of one owner or of all."""
    query = select(Project).where(Project.deleted_on.is_(None))
    if ownername is not None:
        query = query.where(Project.owner == ownername)
    return _projects(ctx, part, query)


@router.get("/project/search")
def project_search(ctx: Ctx, part: Part, query: str) -> Response:
    """Projects whose `owner/name` or description holds the words."""
    pattern = "%" + re.sub(r"([%_\\])", r"\\\1", query[:200]) + "%"
    whole = Project.owner + "/" + Project.name
    found = select(Project).where(
        Project.deleted_on.is_(None),
        or_(whole.ilike(pattern, escape="\\"), Project.description.ilike(pattern, escape="\\")),
    )
    return _projects(ctx, part, found)


def _projects(ctx: Context, part: Paging, query: Any) -> Response:
    ordered = part.apply(query, {"id": Project.id, "name": Project.name})
    with ctx.reading() as session:
        items = [project_json(ctx, project) for project in session.scalars(ordered)]
    return JSONResponse(part.page(items))


@router.post(
    "/project/edit/{ownername}/{projectname}",
    operation_id="project_edit_post",
    openapi_extra=_EDIT,
)
@router.put("/project/edit/{ownername}/{projectname}", openapi_extra=_EDIT)
def project_edit(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, body: JsonObject
) -> Response:
    """Change what is given, keep the rest; `chroots` is the complete new set."""
    given = settings.read(body)
    with ctx.writing() as session:
        project = own_project(session, user, ownername, projectname, "update")
        before, was_devel = project.chroots, settings.of(project, "devel_mode")
        available = list(dict.fromkeys((*ctx.chroots, *project.chroots)))
        project.chroots = names.chroots(body.get("chroots"), available, " here") or before
        project.description = _description(body, project.description)
        project.settings = {**project.settings, **given}
        devel = settings.of(project, "devel_mode")
        if devel != was_devel:
            actions.createrepo(session, project, project.chroots, actions.TOGGLE, devel=devel)
        added = [chroot for chroot in project.chroots if chroot not in before]
        actions.new_chroots(session, project, added)
        reply = project_json(ctx, project)
    return JSONResponse(reply)


@router.post(
    "/project/delete/{ownername}/{projectname}",
    operation_id="project_delete_post",
    openapi_extra=_DELETE,
)
@router.delete("/project/delete/{ownername}/{projectname}", openapi_extra=_DELETE)
def project_delete(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, body: JsonObject
) -> Response:
    """Delete a project and its results."""
    if body.get("verify") is not True:
        raise ApiError(400, "verify: The parameter `verify` must be true to delete a project.")
    with ctx.writing() as session:
        project = own_project(session, user, ownername, projectname, "delete")
        if settings.of(project, "persistent"):
            raise ApiError(400, f"Project {project.full_name} is persistent: it cannot be deleted")
        builds = builds_of(session, project)
        busy = [str(build.id) for build in builds if in_progress(session, build)]
        if busy:
            raise ApiError(
                409, f"Project {project.full_name} has unfinished builds, wait for them or"
                f" cancel them first: copr-cli cancel {busy[0]}"
            )  # fmt: skip
        reply = project_json(ctx, project)
        project.deleted_on = now()
        in_hand = actions.forget(session, project)
        noted = actions.delete_project(session, project)
        hooks.remove(session, hooks.of(session, project))
    for build in builds:
        housekeeping.forget_upload(ctx, build)
    # What an action makes at this moment goes by another one, after it.
    housekeeping.remove_project(ctx, project, None if in_hand else noted)
    return JSONResponse(reply)
