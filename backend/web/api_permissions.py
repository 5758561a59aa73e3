"""API v3: who else may build in a project, or change it."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend.web import accounts, bodies, openapi, permissions
from backend.web.api_projects import own_project
from backend.web.errors import ApiError
from backend.web.models import Permission, Project
from backend.web.permissions import APPROVED, NOTHING, REQUEST, ROLES, WORDS
from backend.web.queries import get_project
from backend.web.request import Ctx, CurrentUser, JsonObject

router = APIRouter(prefix="/api_3/project/permissions")
_SET = openapi.whole({"type": "object", "minProperties": 1, "additionalProperties": bodies.ROLES})


def _of(session: Session, project: Project) -> list[Permission]:
    query = select(Permission).where(Permission.project_id == project.id)
    return list(session.scalars(query.order_by(Permission.user_name)))


@router.get("/get/{ownername}/{projectname}")
def permissions_get(ctx: Ctx, user: CurrentUser, ownername: str, projectname: str) -> Response:
    """What others may do, and ask for."""
    with ctx.reading() as session:
        project = own_project(session, user, ownername, projectname, "list permissions of")
        found = {
            entry.user_name: {role: WORDS[getattr(entry, role)] for role in ROLES}
            for entry in _of(session, project)
        }
    if not found:
        raise ApiError(404, f"No permissions set on {ownername}/{projectname} project")
    return JSONResponse({"permissions": found})


@router.get("/can_build_in/{who}/{ownername}/{projectname}")
def can_build_in(
    ctx: Ctx, _user: CurrentUser, who: str, ownername: str, projectname: str
) -> Response:
    """May `who` build there?"""
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
        user = accounts.find(session, who)
        if user is None:
            raise ApiError(404, f"No such user `{who[:100]}`")
        can = permissions.may(session.connection(), user, project, "builder")
    names = {"who": who, "ownername": ownername, "projectname": projectname}
    return JSONResponse(names | {"can_build_in": can})


def _roles(given: object, words: Mapping[Any, int]) -> dict[str, int]:
    if not isinstance(given, dict) or not given:
        raise ApiError(400, "no permissions specified")
    for role, word in given.items():
        if role not in ROLES:
            raise ApiError(400, f"{role[:100]!r} is no permission: give {' or '.join(ROLES)}")
        if not isinstance(word, bool | str) or word not in words:
            raise ApiError(400, f"{role}: {str(word)[:100]!r} is none of {', '.join(words)}")
    return {role: words[word] for role, word in given.items()}


def _entry(session: Session, project: Project, name: str) -> Permission:
    found = session.get(Permission, (project.id, name))
    if found is None:
        found = Permission(project_id=project.id, user_name=name, builder=NOTHING, admin=NOTHING)
        session.add(found)
    return found


@router.put("/set/{ownername}/{projectname}", openapi_extra=_SET)
def permissions_set(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, body: JsonObject
) -> Response:
    """Change what users may do: all that is given, or nothing of it."""
    words = {word: number for number, word in enumerate(WORDS)}
    if not body:
        raise ApiError(400, "no permissions specified")
    with ctx.writing() as session:
        project = own_project(session, user, ownername, projectname, "update")
        for name, given in body.items():
            if accounts.find(session, name) is None:
                raise ApiError(404, f"No such user `{name[:100]}`")
            if name == project.owner:
                raise ApiError(400, "Owner is already admin: there is nothing to be set")
            entry = _entry(session, project, name)
            for role, number in _roles(given, words).items():
                setattr(entry, role, number)
    return JSONResponse({"updated": list(body)})


@router.put("/request/{ownername}/{projectname}", openapi_extra=openapi.whole(bodies.ASKED))
def permissions_request(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, body: JsonObject
) -> Response:
    """Ask for permissions (true), or give them up (false)."""
    words = {"true": REQUEST, "false": NOTHING}
    asked = _roles(
        {r: str(w).lower() if isinstance(w, bool) else w for r, w in body.items()}, words
    )
    with ctx.writing() as session:
        project = get_project(session, ownername, projectname)
        if project.owner == user.name:
            raise ApiError(400, "You are the owner of this project: you may do everything")
        entry = _entry(session, project, user.name)
        for role, number in asked.items():
            if not (number == REQUEST and getattr(entry, role) == APPROVED):
                setattr(entry, role, number)
    return JSONResponse({"updated": True})
