"""API v3: packages of a project."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend.constants import Source
from backend.web import actions, bodies, books, housekeeping, latest, names, openapi, origins
from backend.web.api_projects import own_project
from backend.web.errors import ApiError
from backend.web.models import Build, Package, Project, User
from backend.web.packages import find_package, get_package
from backend.web.paging import Part
from backend.web.queries import get_project, in_progress
from backend.web.request import Ctx, CurrentUser, JsonObject
from backend.web.shapes import build_json, source_url
from backend.web.store import Context

router = APIRouter(prefix="/api_3")
_KINDS: dict[str, Any] = {"enum": list(origins.KINDS)}
Kind = Annotated[str, Path(json_schema_extra=_KINDS)]
KindOrNone = Annotated[str, Path(json_schema_extra={"enum": [*origins.KINDS, "None"]})]
_NAMED = openapi.body(bodies.NAMED, *bodies.NAMED)


def _package_json(
    ctx: Context,
    project: Project,
    package: Package,
    newest: Build | None,
    builds: Mapping[str, Build | None],
) -> dict[str, Any]:
    if package.source_type is None:  # never configured: what the last build was made of
        kind = Source(newest.source_type) if newest else Source.UNSET
        shown = {"url": source_url(ctx, newest)} if newest else {}
        if newest and kind not in (Source.LINK, Source.UPLOAD):
            shown = origins.shown(newest.source)
    else:
        kind, shown = Source(package.source_type), origins.shown(package.source)
    return {
        "id": package.id,
        "name": package.name,
        "ownername": project.owner,
        "projectname": project.name,
        "source_type": kind.name.lower(),
        "source_dict": shown,
        "auto_rebuild": package.options.get("webhook_rebuild", False),
        "builds": {
            name: build_json(ctx, build) if build else None for name, build in builds.items()
        },
    }


def _packages_json(
    ctx: Context,
    session: Session,
    project: Project,
    packages: list[Package],
    wanted: tuple[bool, bool],
) -> list[dict[str, Any]]:
    named = [package.name for package in packages]
    newest = latest.of_packages(session, project, named)
    good = latest.of_packages(session, project, named, succeeded=True) if wanted[1] else {}
    return [
        _package_json(
            ctx,
            project,
            package,
            newest.get(package.name),
            {
                "latest": newest.get(package.name) if wanted[0] else None,
                "latest_succeeded": good.get(package.name),
            },
        )
        for package in packages
    ]


@router.get("/package/list")
def package_list(
    *,
    ctx: Ctx,
    part: Part,
    ownername: str,
    projectname: str,
    with_latest_build: bool = False,
    with_latest_succeeded_build: bool = False,
) -> Response:
    """Packages of a project."""
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
        query = select(Package).where(Package.project_id == project.id)
        ordered = part.apply(query, {"id": Package.id, "name": Package.name})
        wanted = (with_latest_build, with_latest_succeeded_build)
        packages = list(session.scalars(ordered))
        items = _packages_json(ctx, session, project, packages, wanted)
    return JSONResponse(part.page(items))


@router.get("/package")
def package_get(
    *,
    ctx: Ctx,
    ownername: str,
    projectname: str,
    packagename: str,
    with_latest_build: bool = False,  # noqa: ARG001
    with_latest_succeeded_build: bool = False,  # noqa: ARG001
) -> Response:
    """One package. Its latest builds are there in any case, as the real frontend has it: there
    the text `False`, which clients send, is true."""
    with ctx.reading() as session:
        project = get_project(session, ownername, projectname)
        package = get_package(session, project, packagename)
        return JSONResponse(_packages_json(ctx, session, project, [package], (True, True))[0])


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, most in (("max_builds", 1000), ("timeout", 7 * 24 * 3600)):
        if body.get(name) is not None:
            found[name] = names.number(body, name, 0, 0, most)
    if body.get("chroot_denylist") is not None:
        found["chroot_denylist"] = origins.text(body, "chroot_denylist")
    if isinstance(body.get("webhook_rebuild"), bool):
        found["webhook_rebuild"] = body["webhook_rebuild"]
    return found


def _reply(ctx: Context, session: Session, project: Project, package: Package) -> dict[str, Any]:
    session.flush()
    return _packages_json(ctx, session, project, [package], (False, False))[0]


@router.post(
    "/package/add/{ownername}/{projectname}/{package_name}/{source_type_text}",
    openapi_extra=openapi.body(bodies.PACKAGE),
)
def package_add(
    *,
    ctx: Ctx,
    user: CurrentUser,
    ownername: str,
    projectname: str,
    package_name: str,
    source_type_text: Kind,
    body: JsonObject,
) -> Response:
    """Make a package known before its first build."""
    name = names.package_name(package_name)
    fields = {**body, "package_name": name}
    kind, source = origins.source(source_type_text, fields, ctx.config)
    with ctx.writing() as session:
        project = own_project(session, user, ownername, projectname, "add packages to")
        if find_package(session, project, name) is not None:
            raise ApiError(400, f"Package {name} already exists in copr {project.full_name}.")
        package = Package(
            project_id=project.id,
            name=name,
            source_type=int(kind),
            source=source,
            options=_options(body),
        )
        session.add(package)
        reply = _reply(ctx, session, project, package)
    return JSONResponse(reply)


@router.put(
    "/package/edit/{ownername}/{projectname}/{package_name}/{source_type_text}",
    operation_id="package_edit_put",
    openapi_extra=openapi.body(bodies.PACKAGE),
)
@router.post(
    "/package/edit/{ownername}/{projectname}/{package_name}/{source_type_text}",
    openapi_extra=openapi.body(bodies.PACKAGE),
)
def package_edit(
    *,
    ctx: Ctx,
    user: CurrentUser,
    ownername: str,
    projectname: str,
    package_name: str,
    source_type_text: KindOrNone,
    body: JsonObject,
) -> Response:
    """Change what a package is built from; with the same kind of source, null keeps a field.
    `None` as the kind, which the client library sends for nothing, keeps it as well."""
    with ctx.writing() as session:
        project = own_project(session, user, ownername, projectname, "edit packages of")
        package = get_package(session, project, package_name)
        before = Source(package.source_type or Source.UNSET).name.lower()
        wanted = before if source_type_text == "None" else source_type_text
        fields = {**body, "package_name": package.name}
        if wanted == before:
            fields = origins.merged(wanted, package.source, fields)
        kind, source = origins.source(wanted, fields, ctx.config)
        package.source_type, package.source = int(kind), source
        package.options = {**package.options, **_options(body)}
        reply = _reply(ctx, session, project, package)
    return JSONResponse(reply)


@router.put("/package/reset", openapi_extra=_NAMED)
def package_reset(ctx: Ctx, user: CurrentUser, body: JsonObject) -> Response:
    """Forget what the package is built from."""
    with ctx.writing() as session:
        project, package = _named(session, user, body)
        package.source_type, package.source = int(Source.UNSET), {}
        reply = _reply(ctx, session, project, package)
    return JSONResponse(reply)


@router.delete("/package/delete", openapi_extra=_NAMED)
def package_delete(ctx: Ctx, user: CurrentUser, body: JsonObject) -> Response:
    """Delete a package, all its builds, and their results."""
    with ctx.writing() as session:
        project, package = _named(session, user, body)
        query = select(Build).where(Build.project_id == project.id, Build.pkg_name == package.name)
        builds = list(session.scalars(query))
        busy = [build.id for build in builds if in_progress(session, build)]
        if busy:
            raise ApiError(
                409, f"Build {busy[0]} of the package is not finished: wait for it, or copr-cli"
                f" cancel {busy[0]}"
            )  # fmt: skip
        reply = _packages_json(ctx, session, project, [package], (False, False))[0]
        for build in builds:
            session.delete(build)
        session.delete(package)
        found = actions.delete_builds(session, builds)
        noted = None if books.in_hand(session, builds) else found
    ctx.marks.forget(project.id)
    housekeeping.remove_builds(ctx, builds, noted)
    return JSONResponse(reply)


def _named(session: Session, user: User, body: Mapping[str, Any]) -> tuple[Project, Package]:
    owner, name = body.get("ownername"), body.get("projectname")
    if not isinstance(owner, str) or not isinstance(name, str):
        raise ApiError(400, "Missing argument ownername or projectname")
    project = own_project(session, user, owner, name, "edit packages of")
    return project, get_package(session, project, body.get("package_name"))
