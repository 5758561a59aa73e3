"""The state machine of builds: what an update, a cancel or a reschedule does to one."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from backend.chroot import Chroot
from backend.constants import FINISHED, Source, Status
from backend.web.models import Build, BuildChroot, CancelRequest

ACTIVE = (Status.PENDING, Status.STARTING, Status.RUNNING)
#: Once there, a status is never changed by a report.
FIXED = (Status.FAILED, Status.SUCCEEDED, Status.CANCELED)
#: A source build in one of these decides what users see of the build.
SOURCE_FIRST = (*ACTIVE, Status.IMPORTING, Status.FAILED, Status.CANCELED)
#: Else the first of these that a chroot has.
ORDER = (
    Status.RUNNING,
    Status.STARTING,
    Status.PENDING,
    Status.FAILED,
    Status.SUCCEEDED,
    Status.SKIPPED,
    Status.FORKED,
    Status.CANCELED,
)


def build_status(build: Build) -> Status:
    """The state that users see."""
    if build.canceled:
        return Status.CANCELED
    if build.source_status in SOURCE_FIRST:
        return Status(build.source_status)
    present = {chroot.status for chroot in build.chroots}
    return next((status for status in ORDER if status in present), Status.WAITING)


def is_finished(build: Build) -> bool:
    """True when nothing more will happen to it."""
    return build_status(build) in FINISHED


def final(build: Build) -> int | None:
    """The state that users see, if nothing more will happen to it."""
    status = build_status(build)
    return int(status) if status in FINISHED else None


def is_binary(build: Build) -> bool:
    """True when it publishes an uploaded binary package: nothing is built, and there is no source
    step."""
    return build.source_type == Source.UPLOAD and build.source.get("binary") is True


def upload_is_done(build: Build) -> bool:
    """True when nobody will read the uploaded package again."""
    if is_binary(build):  # every chroot fetches it
        return all(chroot.status in FINISHED for chroot in build.chroots)
    token: str = build.source.get("tmp", "")
    if not token or build.source_status not in FINISHED:
        return False
    return token not in (build.srpm_url or "")


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def cancel(session: Session, build: Build) -> None:
    """Mark it canceled at once, and ask the backend to stop each of its tasks."""
    build.canceled = True
    build.ended_on = build.ended_on or now()
    open_tasks = [c for c in build.chroots if c.status not in FINISHED]
    tasks = [str(build.id), *(f"{build.id}-{chroot.name}" for chroot in open_tasks)]
    for task_id in tasks:
        session.merge(CancelRequest(task_id=task_id, build_id=build.id))


def acknowledge(session: Session, task_id: str) -> Build | None:
    """The backend has stopped the task, or never had it; returns the task's build."""
    request = session.get(CancelRequest, task_id)
    if request is None:
        return None
    session.delete(request)
    build = session.get(Build, request.build_id)
    if build is None:
        return None
    if task_id == str(build.id):
        if build.source_status not in FINISHED:
            build.source_status = Status.CANCELED
        return build
    chroot = task_chroot(build, task_id)
    if chroot and chroot.status not in FINISHED:
        chroot.status = Status.CANCELED
        chroot.ended_on = now()
    return build


def task_chroot(build: Build, task_id: str) -> BuildChroot | None:
    """The chroot that an RPM task of the build is for."""
    return next((c for c in build.chroots if task_id == f"{build.id}-{c.name}"), None)


def is_over(build: Build, task_id: str) -> bool:
    """True for a task that has ended: building it again could only do harm."""
    if task_id == str(build.id):
        return build.source_status in FINISHED
    chroot = task_chroot(build, task_id)
    return chroot is not None and chroot.status in FINISHED


def drop(chroot: BuildChroot) -> None:
    """End a task that the project does not want any more."""
    if chroot.status not in FINISHED:
        chroot.status = int(Status.FAILED)
        chroot.failure = "the project does not build for this chroot any more"
        chroot.ended_on = now()


def reschedule(build: Build, task_id: str) -> str:
    """Put a starting or running task back; returns why not, or an empty text."""
    if task_id == str(build.id):
        if build.source_status not in (Status.STARTING, Status.RUNNING):
            return f"build {build.id} is not in starting or running state"
        build.source_status, build.result_dir, build.started_on = Status.PENDING, None, None
        return ""
    chroot = task_chroot(build, task_id)
    if chroot is None:
        return f"build {build.id} has no task {task_id}"
    if chroot.status not in (Status.STARTING, Status.RUNNING):
        return f"build {task_id} is not in starting or running state"
    chroot.status, chroot.result_dir = Status.PENDING, None
    return ""


def apply(build: Build, update: Mapping[str, Any]) -> bool:
    """Take over one reported build object; True when this made new work."""
    if str(update.get("task_id")) == str(build.id):
        return _apply_source(build, update)
    for chroot in build.chroots:
        if chroot.name == update.get("chroot"):
            _apply_chroot(chroot, update)
    return False


def _apply_chroot(chroot: BuildChroot, update: Mapping[str, Any]) -> None:
    status = _status(update, Status(chroot.status))
    chroot.result_dir = _text(update.get("result_dir"))
    if chroot.status not in FIXED:
        chroot.status = status
        chroot.failure = _line(update.get("failure")) if status == Status.FAILED else None
        if status == Status.PENDING:
            chroot.started_on = chroot.ended_on = None
    if status == Status.STARTING and chroot.status == status:
        chroot.started_on = _time(update.get("started_on"))
    if status in FIXED:
        chroot.ended_on = _time(update.get("ended_on")) or now()
        results = update.get("results")
        if isinstance(results, Mapping) and isinstance(results.get("packages"), list):
            chroot.packages = results["packages"]


def _apply_source(build: Build, update: Mapping[str, Any]) -> bool:
    before, status = Status(build.source_status), _status(update, Status(build.source_status))
    build.result_dir = _text(update.get("result_dir"))
    if before in FINISHED:
        return False
    build.source_status = status
    build.started_on = _time(update.get("started_on")) or build.started_on
    if status == Status.PENDING:
        build.started_on = None
    if status in FINISHED:
        build.ended_on = _time(update.get("ended_on")) or now()
    if status in (Status.FAILED, Status.SKIPPED):
        build.failure = _line(update.get("failure"))
        _end_chroots(build, status)
    elif status == Status.SUCCEEDED:
        return _source_done(build, update)
    return False


def _source_done(build: Build, update: Mapping[str, Any]) -> bool:
    build.pkg_name = _text(update.get("pkg_name")) or build.pkg_name
    build.pkg_version = _text(update.get("pkg_version")) or build.pkg_version
    build.srpm_url = _text(update.get("srpm_url")) or build.srpm_url
    if not build.pkg_name or not build.srpm_url:
        build.source_status = Status.FAILED
        build.failure = "the source build reported neither package name nor source package"
        _end_chroots(build, Status.FAILED)
        return False
    if build.canceled:
        _end_chroots(build, Status.CANCELED)
        return False
    if not build.chroots:
        names = [name for name in build.project.chroots if name not in build.excluded]
        build.chroots = [BuildChroot(name=name, status=int(Status.WAITING)) for name in names]
    if not build.chroots:
        build.source_status = Status.FAILED
        build.failure = "the project has no chroot enabled: copr-cli modify --chroot NAME"
        return False
    _release_chroots(build, update)
    return True


def _release_chroots(build: Build, update: Mapping[str, Any]) -> None:
    results = update.get("results")
    tags = results.get("architecture_specific_tags") if isinstance(results, Mapping) else None
    refused = {c.name for c in build.chroots if isinstance(tags, Mapping) and _refused(c, tags)}
    if len(refused) == len(build.chroots):
        refused = set()  # let the builder say it in its own words
    for chroot in build.chroots:
        chroot.status = int(Status.SKIPPED if chroot.name in refused else Status.PENDING)


def _refused(chroot: BuildChroot, tags: Mapping[str, Any]) -> bool:
    parsed = Chroot.parse(chroot.name)
    own = tags.get(parsed.name_release)
    if not isinstance(own, Mapping):
        return False
    only, never = own.get("exclusivearch") or [], own.get("excludearch") or []
    noarch = "noarch" in only and "noarch" in (own.get("buildarch") or [])
    return parsed.arch in never or bool(only and parsed.arch not in only and not noarch)


def _end_chroots(build: Build, status: Status) -> None:
    for chroot in build.chroots:
        if chroot.status not in FINISHED:
            chroot.status = int(status)
            chroot.ended_on = now()


def _status(update: Mapping[str, Any], default: Status) -> Status:
    value = update.get("status")
    return default if value is None else Status(value)


def _time(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value > 0 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _line(value: object) -> str | None:
    return " ".join(value.split())[:500] if isinstance(value, str) and value.strip() else None
