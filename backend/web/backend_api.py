"""The `/backend/` namespace: what the build backend polls and reports to (PROTOCOL A)."""

import json
import re
from typing import Any

from fastapi import APIRouter, Depends
from sqlalchemy import select
from starlette.responses import JSONResponse, Response

from backend.chroot import Chroot
from backend.constants import Source, Status
from backend.web import housekeeping, states
from backend.web.errors import ApiError
from backend.web.models import Build, BuildChroot, CancelRequest, Project
from backend.web.request import Ctx, JsonObject, require_backend
from backend.web.shapes import upload_path
from backend.web.store import Context

router = APIRouter(prefix="/backend")
_WRITE: dict[str, Any] = {"methods": ["POST", "PUT"], "dependencies": [Depends(require_backend)]}
_ACTIVE = tuple(int(status) for status in states.ACTIVE)
_COMMON = (Build.id, Build.background, Build.submitter, Project.owner, Project.name)


def _short(row: Any, chroot: str | None) -> dict[str, Any]:
    build_id, background, submitter, owner, project = row[:5]
    record = {
        "task_id": f"{build_id}-{chroot}" if chroot else str(build_id),
        "build_id": build_id,
        "project_owner": owner,
        "sandbox": f"{owner}/{project}--{submitter}",
        "background": background,
        "chroot": chroot,
    }
    return record | {"tags": [], "allow_user_ssh": False} if chroot else record


@router.get("/pending-jobs")
def pending_jobs(ctx: Ctx) -> Response:
    """Every task that is not finished."""
    order = (Build.background, Build.id)
    sources = (
        select(*_COMMON)
        .join(Project, Build.project_id == Project.id)
        .where(Build.source_status.in_(_ACTIVE), Build.canceled.is_(False))
        .order_by(*order)
    )
    rpms = (
        select(*_COMMON, BuildChroot.name)
        .join(Project, Build.project_id == Project.id)
        .join(BuildChroot, BuildChroot.build_id == Build.id)
        .where(BuildChroot.status.in_(_ACTIVE), Build.canceled.is_(False))
        .order_by(*order, BuildChroot.name)
    )
    with ctx.reading() as session:
        records = [_short(row, None) for row in session.execute(sources)]
        records += [_short(row, row[5]) for row in session.execute(rpms)]
    return JSONResponse(records)


@router.get("/pending-actions")
def pending_actions() -> Response:
    """Nothing: this frontend does its own housekeeping."""
    return JSONResponse([])


def _details(build: Build) -> dict[str, Any]:
    project = build.project
    return {
        "build_id": build.id,
        "project_owner": project.owner,
        "project_name": project.name,
        "project_dirname": build.dirname,
        "submitter": build.submitter,
        "sandbox": f"{project.full_name}--{build.submitter}",
        "background": build.background,
        "appstream": False,
    }


@router.get("/get-srpm-build-task/{build_id}")
def get_srpm_build_task(ctx: Ctx, build_id: int) -> Response:
    """The full record of a source task."""
    with ctx.reading() as session:
        build = session.get(Build, build_id)
        if build is None:
            raise ApiError(404, "Specified task ID not found")
        source = dict(build.source)
        if build.source_type == Source.UPLOAD:
            source["url"] = ctx.config.frontend_url + upload_path(build)
        in_build = {Chroot.parse(chroot.name).name_release for chroot in build.chroots}
        in_project = {Chroot.parse(name).name_release for name in build.project.chroots}
        record = _details(build) | {
            "task_id": str(build.id),
            "chroot": None,
            "package_name": build.pkg_name,
            "repos": [],
            "source_type": build.source_type,
            "source_json": json.dumps(source),
            "distributions_in_project": sorted(in_project),
            "distributions_in_build": sorted(in_build),
        }
    return JSONResponse(record)


def _repos(ctx: Context, build: Build, chroot: str) -> list[dict[str, Any]]:
    project, base = build.project, ctx.config.results_url

    def repo(identity: str, name: str, url: str) -> dict[str, Any]:
        return {"id": identity, "name": name, "baseurl": url}

    def own(identity: str, name: str, dirname: str) -> dict[str, Any]:
        url = f"{base}/{project.owner}/{dirname}/{chroot}/"
        return repo(identity, name, url) | {"priority": None, "repo_gpgcheck": False}

    repos = [own("copr_base", "Copr repository", project.name)]
    if build.dirname != project.name:
        repos.append(own("copr_coprdir", "Copr directory", build.dirname))
    for url in project.settings.get("additional_repos") or []:
        identity = re.sub(r"[^A-Za-z0-9]+", "_", url).strip("_")
        repos.append(repo(identity, f"Additional repo {identity}", url))
    return repos


@router.get("/get-build-task/{task_id}")
def get_build_task(ctx: Ctx, task_id: str) -> Response:
    """The full record of an RPM task; null when the project dropped the chroot."""
    number, _, chroot = task_id.partition("-")
    with ctx.reading() as session:
        build = session.get(Build, int(number)) if _is_id(number) else None
        names = [item.name for item in build.chroots] if build else []
        if build is None or chroot not in names or not build.pkg_name:
            raise ApiError(404, "Specified task ID not found")
        if chroot not in build.project.chroots:
            return JSONResponse(None)
        record = _details(build) | {
            "task_id": task_id,
            "chroot": chroot,
            "tags": [],
            "allow_user_ssh": False,
            "ssh_public_keys": None,
            "git_repo": None,
            "git_hash": None,
            "srpm_url": build.srpm_url,
            "package_name": build.pkg_name,
            "package_version": build.pkg_version,
            "timeout": build.timeout,
            "memory_reqs": 2048,
            "enable_net": build.enable_net,
            "isolation": build.isolation,
            "buildroot_pkgs": [],
            "with_opts": [],
            "without_opts": [],
            "repos": _repos(ctx, build, chroot),
            "uses_devel_repo": False,
            "fedora_review": False,
            "repo_priority": None,
            "storage": 0,
        }
    return JSONResponse(record)


@router.api_route("/starting_build", **_WRITE)
def starting_build(ctx: Ctx, body: JsonObject) -> Response:
    """May the backend start this task?"""
    build_id = _identity(body, "build_id")
    _check_status(body)
    with ctx.writing() as session:
        build = session.get(Build, build_id)
        can_start = build is not None and not build.canceled
        if build is not None and can_start:
            states.apply(session, build, body | {"status": int(Status.STARTING)})
    return JSONResponse({"can_start": can_start})


@router.api_route("/update", **_WRITE)
def update(ctx: Ctx, body: JsonObject) -> Response:
    """Take over what the backend reports about builds."""
    reply: dict[str, list[int]] = {}
    new_work = False
    if "builds" in body:
        builds = {_identity(build, "id"): build for build in _objects(body, "builds")}
        for build in builds.values():
            _check_status(build)
        known, uploads = [], []
        with ctx.writing() as session:
            for number, record in builds.items():
                row = session.get(Build, number)
                if row is not None:
                    known.append(number)
                    new_work |= states.apply(session, row, record)
                    if states.upload_is_done(row):
                        uploads.append(row)
        for row in uploads:
            housekeeping.forget_upload(ctx, row)
        reply["updated_builds_ids"] = known
        reply["non_existing_builds_ids"] = [number for number in builds if number not in known]
    if "actions" in body:
        actions = [_identity(action, "id") for action in _objects(body, "actions")]
        reply |= {"updated_actions_ids": [], "non_existing_actions_ids": actions}
    if new_work:
        ctx.wake("new")
    return JSONResponse(reply)


@router.api_route("/reschedule_build_chroot", **_WRITE)
def reschedule_build_chroot(ctx: Ctx, body: JsonObject) -> Response:
    """Put one starting or running task back to pending."""
    build_id = _identity(body, "build_id")
    with ctx.writing() as session:
        build = session.get(Build, build_id)
        if build is None:
            return JSONResponse({"result": "noop", "msg": f"Build {build_id} wasn't found"})
        problem = states.reschedule(build, str(body.get("task_id")))
    if problem:
        return JSONResponse({"result": "noop", "msg": problem})
    ctx.wake("new")
    return JSONResponse({"result": "done"})


@router.get("/build-tasks/cancel-requests")
def cancel_requests(ctx: Ctx) -> Response:
    """Tasks to stop, until each is acknowledged."""
    order = (CancelRequest.build_id, CancelRequest.task_id)
    with ctx.reading() as session:
        tasks = session.scalars(select(CancelRequest.task_id).order_by(*order)).all()
    return JSONResponse(list(tasks))


@router.api_route("/build-tasks/canceled/{task_id}", **_WRITE)
def canceled(ctx: Ctx, task_id: str) -> Response:
    """The backend acknowledges a cancel request."""
    with ctx.writing() as session:
        build = states.acknowledge(session, task_id)
        done = build is not None and states.upload_is_done(build)
    if build is not None and done:
        housekeeping.forget_upload(ctx, build)
    return JSONResponse("success")


def _is_id(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,18}", text))


def _objects(body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = body[key]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ApiError(400, f"{key} must be a list of objects")
    return items


def _identity(record: dict[str, Any], key: str) -> int:
    number = record.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**63:
        raise ApiError(400, f"{key} must be an integer")
    return number


def _check_status(record: dict[str, Any]) -> None:
    status = record.get("status")
    if status is not None and status not in list(Status):
        raise ApiError(400, f"status {str(status)[:40]!r} is none of the known numbers")
