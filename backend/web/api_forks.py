"""API v3: forks of projects, and making repositories anew."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend import sign
from backend.constants import SRPM_CHROOT
from backend.web import actions, bodies, copies, latest, names, openapi, permissions
from backend.web.api_projects import own_project
from backend.web.errors import ApiError
from backend.web.models import Build, BuildChroot, Package, Project, User
from backend.web.packages import find_package
from backend.web.queries import find_project, get_project
from backend.web.request import Ctx, CurrentUser, JsonObject
from backend.web.shapes import project_json
from backend.web.states import now

router = APIRouter(prefix="/api_3")
_FORK = openapi.body(
    {"name": bodies.PROJECT_NAME, "ownername": bodies.TEXT, "confirm": bodies.FLAG}, "name"
)


@router.put("/project/regenerate-repos/{ownername}/{projectname}")
def regenerate_repos(ctx: Ctx, user: CurrentUser, ownername: str, projectname: str) -> Response:
    """Have the metadata of all chroots made anew."""
    with ctx.writing() as session:
        project = get_project(session, ownername, projectname)
        if not permissions.may(session.connection(), user, project, "builder"):
            raise ApiError(403, "You can't regenerate repos of this project")
        actions.createrepo(session, project, project.chroots, actions.BY_HAND)
        reply = project_json(ctx, project)
    return JSONResponse(reply)


@router.post("/project/fork/{ownername}/{projectname}", openapi_extra=_FORK)
def project_fork(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, body: JsonObject
) -> Response:
    """Copy a project: its settings, and the latest good build of each package and chroot."""
    owner = user.name if body.get("ownername") in (None, "") else body["ownername"]
    if not isinstance(owner, str):
        raise ApiError(400, "ownername: must be text")
    name = names.project_name(body.get("name"))
    with ctx.writing() as session:
        source = get_project(session, ownername, projectname)
        target = _target(session, user, source, (owner, name), body.get("confirm") is True)
        builds = _copy_builds(session, user, source, target)
        if sign.signs(ctx.config):
            actions.gen_key(session, target)
        actions.new_chroots(session, target, target.chroots)
        actions.fork(session, source, target, builds)
        reply = project_json(ctx, target)
    return JSONResponse(reply)


def _target(
    session: Session, user: User, source: Project, full_name: tuple[Any, str], confirmed: bool
) -> Project:
    owner, name = full_name
    found = find_project(session, owner, name) if isinstance(owner, str) else None
    if found is not None:
        if found.id == source.id:
            raise ApiError(400, "You can't fork a project into itself")
        own_project(session, user, owner, name, "fork into")
        if not confirmed:
            raise ApiError(
                400, f"You are about to fork into existing project: {found.full_name}\n"
                "Please use --confirm if you really want to do this"
            )  # fmt: skip
        added = [chroot for chroot in source.chroots if chroot not in found.chroots]
        found.chroots = [*found.chroots, *added]
        return found
    if owner != user.name:
        raise ApiError(403, f"User {user.name} is not allowed to create projects of {owner}")
    actions.check_gone(session, owner, name)
    target = Project(
        owner=owner,
        name=name,
        description=source.description,
        settings={key: value for key, value in source.settings.items() if key != "persistent"},
        chroots=list(source.chroots),
        chroot_settings={
            chroot: {key: value for key, value in own.items() if key != "comps_name"}
            for chroot, own in source.chroot_settings.items()
        },
        created_on=now(),
    )
    session.add(target)
    session.flush()
    return target


def _copy_builds(
    session: Session, user: User, source: Project, target: Project
) -> dict[str, dict[str, str]]:
    """Rows for the copies; returns chroot → old result directory → new one."""
    _copy_packages(session, source, target)
    have = {
        (row.pkg_name, row.name): row.pkg_version
        for row in latest.by_chroot(session, target, target.name, good=True)
    }
    wanted: dict[int, list[Any]] = {}
    for row in latest.by_chroot(session, source, source.name, good=True):
        new = have.get((row.pkg_name, row.name), "") != row.pkg_version
        if row.result_dir and row.name in target.chroots and new:
            wanted.setdefault(row.id, []).append(row)
    found: dict[str, dict[str, str]] = {chroot: {} for chroot in target.chroots}
    found[SRPM_CHROOT] = {}
    for number in sorted(wanted):
        original = session.get_one(Build, number)
        copy = copies.of_build(session, original, target, user.name, original.options)
        if original.result_dir:
            found[SRPM_CHROOT][original.result_dir] = f"{copy.id:08d}"
            copy.result_dir = f"{copy.id:08d}"
        old = {chroot.name: chroot for chroot in original.chroots}
        for row in wanted[number]:
            where = f"{copy.id:08d}-{copy.pkg_name}"
            found[row.name][row.result_dir] = where
            new = BuildChroot(name=row.name)
            copy.chroots.append(copies.of_chroot(new, old[row.name], where))
    session.flush()
    return found


def _copy_packages(session: Session, source: Project, target: Project) -> None:
    for package in session.scalars(select(Package).where(Package.project_id == source.id)):
        if find_package(session, target, package.name) is None:
            session.add(
                Package(
                    project_id=target.id,
                    name=package.name,
                    source_type=package.source_type,
                    source=package.source,
                    options=package.options,
                )
            )
