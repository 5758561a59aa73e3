"""API v3: the chroots of a project, and their settings."""

import re
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response

from backend.web import actions, bodies, buildconfig, openapi, settings, verdicts
from backend.web.api_projects import own_project
from backend.web.errors import ApiError
from backend.web.forms import form
from backend.web.models import Build, BuildChroot, Project
from backend.web.queries import get_build, get_project
from backend.web.request import Ctx, CurrentUser
from backend.web.shapes import chroot_json
from backend.web.store import Context

router = APIRouter()
_SHOWN = (*settings.LISTS, "isolation")


def _check(project: Project, chroot: str) -> None:
    if chroot not in project.chroots:
        raise ApiError(404, f"No mock chroot {chroot[:100]} in project {project.full_name}.")


def _conf(project: Project, chroot: str) -> dict[str, Any]:
    """CHROOTCONF."""
    own = settings.of_chroot(project, chroot)
    return {
        **{name: own[name] for name in _SHOWN},
        "mock_chroot": chroot,
        "ownername": project.owner,
        "projectname": project.name,
        "comps_name": own["comps_name"],
        "delete_after_days": own["delete_after_days"],
    }


@router.get("/api_3/project-chroot")
def project_chroot(ctx: Ctx, ownername: str, projectname: str, chrootname: str) -> Response:
    """Settings of one chroot of a project."""
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
        _check(project, chrootname)
        return JSONResponse(_conf(project, chrootname))


@router.get("/api_3/project-chroot/build-config")
def build_config(ctx: Ctx, ownername: str, projectname: str, chrootname: str) -> Response:
    """What a build for the chroot is configured with."""
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
        _check(project, chrootname)
        return JSONResponse(buildconfig.of(ctx, project, chrootname))


def find_chroot(build: Build, name: str) -> BuildChroot:
    """The chroot of a build, or 404."""
    for chroot in build.chroots:
        if chroot.name == name:
            return chroot
    raise ApiError(404, f"Build {build.id} has no chroot {name[:100]}.")


@router.get("/api_3/build-chroot")
def build_chroot(ctx: Ctx, build_id: int, chrootname: str) -> Response:
    """One chroot of a build."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        chroot = find_chroot(build, chrootname)
        found = verdicts.of_task(verdicts.of(session, [build_id]), build, chroot)
        own = {"failure": chroot.failure, "triage": found}
        return JSONResponse(chroot_json(ctx, build, chroot) | own)


@router.get("/api_3/build-chroot/build-config")
def build_chroot_config(ctx: Ctx, build_id: int, chrootname: str) -> Response:
    """What one build is configured with in one of its chroots."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        find_chroot(build, chrootname)
        return JSONResponse(buildconfig.of(ctx, build.project, chrootname, build))


@router.get("/api_3/build-chroot/built-packages")
def build_chroot_packages(ctx: Ctx, build_id: int, chrootname: str) -> Response:
    """What came out of a build in one of its chroots."""
    with ctx.reading() as session:
        chroot = find_chroot(get_build(session, build_id), chrootname)
        return JSONResponse({"packages": chroot.packages})


async def _form(request: Request, _: CurrentUser) -> tuple[dict[str, Any], bytes | None]:
    return await form(request, "upload_comps")


Form = Annotated[tuple[dict[str, Any], bytes | None], Depends(_form)]


@router.post(
    "/api_3/project-chroot/edit/{ownername}/{projectname}/{chrootname}",
    operation_id="project_chroot_edit_post",
    openapi_extra=openapi.body(bodies.CHROOT_EDIT),
)
@router.put(
    "/api_3/project-chroot/edit/{ownername}/{projectname}/{chrootname}",
    openapi_extra=openapi.body(bodies.CHROOT_EDIT),
)
def project_chroot_edit(
    *, ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, chrootname: str, given: Form
) -> Response:
    """Change what is given, keep the rest; `reset_fields` go back to their defaults."""
    body, comps = given
    changes, reset = settings.read_chroot(body), settings.reset(body)
    with ctx.writing() as session:
        project = own_project(session, user, ownername, projectname, "update")
        _check(project, chrootname)
        own = {**(project.chroot_settings or {}).get(chrootname, {}), **changes}
        before = own.get("comps_name")
        if body.get("delete_comps") is True or "comps_name" in reset:
            own.pop("comps_name", None)
        if comps is not None:
            own["comps_name"] = "comps.xml"
            _store(comps_path(ctx, project, chrootname), comps)
        if comps is not None or before != own.get("comps_name"):
            actions.comps(session, project, chrootname, present=comps is not None)
        own = {key: value for key, value in own.items() if key not in reset or key == "comps_name"}
        project.chroot_settings = {**(project.chroot_settings or {}), chrootname: own}
        reply = _conf(project, chrootname)
    return JSONResponse(reply)


def comps_path(ctx: Context, project: Project, chroot: str) -> Path:
    """Where the group file of a chroot is kept."""
    return ctx.config.statedir / "comps" / f"{project.id}-{chroot}.xml"


def _store(path: Path, data: bytes) -> None:
    if not re.match(rb"\s*<", data):
        raise ApiError(400, "upload_comps: this is no comps.xml")
    path.parent.mkdir(mode=0o755, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(data)
    temporary.replace(path)


@router.get("/coprs/{ownername}/{projectname}/chroot/{chrootname}/comps", include_in_schema=False)
@router.get("/coprs/{ownername}/{projectname}/chroot/{chrootname}/comps/", include_in_schema=False)
async def comps(ctx: Ctx, ownername: str, projectname: str, chrootname: str) -> Response:
    """The group file of a chroot, for the backend."""

    def look() -> Path:
        with ctx.reading() as session:
            project = get_project(session, ownername, projectname)
            _check(project, chrootname)
            path = comps_path(ctx, project, chrootname)
            if not settings.of_chroot(project, chrootname)["comps_name"] or not path.is_file():
                raise ApiError(404, f"{chrootname} has no comps.xml in {project.full_name}.")
            return path

    return FileResponse(await run_in_threadpool(look), media_type="application/xml")
