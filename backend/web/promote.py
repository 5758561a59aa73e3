"""Promotes a set of builds in one step: into another project, or to the released packages of a
project that publishes by hand.

Pure database work: the copying and publishing is one action, which the backend carries out, all
of it at one instant for the readers of each repository.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.constants import SRPM_CHROOT, ActionType, Status
from backend.web import actions, copies, settings
from backend.web.errors import ApiError
from backend.web.models import Action, Build, BuildChroot, Package, Project
from backend.web.packages import find_package
from backend.web.queries import get_build, in_progress

#: In `options` of a copy: the build that it is a copy of.
ORIGIN = "promoted_from"
_GOOD = (int(Status.SUCCEEDED), int(Status.FORKED))
#: Most builds in one set.
MOST = 1000


def promote(
    session: Session, source: Project, target: Project, numbers: Sequence[int], *, who: str
) -> tuple[Action, list[Build]]:
    """Promote the builds `numbers` of `source`; returns the action and the builds in `target`.

    `who` becomes their submitter. Repeating it changes nothing, but publishes once more. Raises
    ApiError, and then nothing has changed.
    """
    builds = [_build(session, source, number) for number in dict.fromkeys(numbers)]
    if not builds:
        raise ApiError(400, "builds: name at least one")
    if len(builds) > MOST:
        raise ApiError(400, f"builds: at most {MOST} at once")
    if source.id == target.id:
        return _release(session, source, builds), builds
    dirnames = {build.dirname for build in builds}
    if len(dirnames) > 1:
        raise ApiError(400, f"builds: they are of several directories: {', '.join(dirnames)}")
    copies: list[Build] = []
    found: dict[str, dict[str, str]] = {chroot: {} for chroot in (*target.chroots, SRPM_CHROOT)}
    for build in builds:
        copy = _copy_of(session, build, target, who)
        copies.append(copy)
        _match(build, copy, target, found)
    session.flush()
    source_path = f"{source.owner}/{dirnames.pop()}"
    devel = bool(settings.of(target, "devel_mode"))
    return actions.copy(session, source_path, target, found, devel=devel), copies


def _build(session: Session, source: Project, number: int) -> Build:
    build = get_build(session, number)
    if build.project_id != source.id:
        raise ApiError(400, f"builds: build {number} is not of {source.full_name}")
    if in_progress(session, build):
        raise ApiError(409, f"builds: build {number} is not finished")
    if not _good(build.chroots):
        raise ApiError(400, f"builds: build {number} has no succeeded results")
    return build


def _good(chroots: Iterable[BuildChroot]) -> list[BuildChroot]:
    return [c for c in chroots if c.status in _GOOD and c.result_dir and not c.pruned_on]


def _release(session: Session, project: Project, builds: Sequence[Build]) -> Action:
    """List them among the released packages of their own project."""
    if not settings.of(project, "devel_mode"):
        raise ApiError(
            400, f"Everything in {project.full_name} is released already: it is not in devel mode"
        )
    if any(build.dirname != project.name for build in builds):
        raise ApiError(400, "builds: those of a side directory are released by promoting them")
    chosen: dict[str, list[str]] = {}
    for build in builds:
        for chroot in _good(build.chroots):
            chosen.setdefault(chroot.name, []).append(str(chroot.result_dir))
    return actions.release(session, project, chosen)


def _copy_of(session: Session, build: Build, target: Project, who: str) -> Build:
    """The copy of the build in `target`, made now or by an earlier promotion."""
    same = select(Build).where(Build.project_id == target.id, Build.pkg_name == build.pkg_name)
    for known in session.scalars(same):
        if (known.options or {}).get(ORIGIN) == build.id:
            return known
    if build.pkg_name and find_package(session, target, build.pkg_name) is None:
        session.add(Package(project_id=target.id, name=build.pkg_name))
    options = {**(build.options or {}), ORIGIN: build.id}
    return copies.of_build(session, build, target, who, options)


def _match(build: Build, copy: Build, target: Project, found: dict[str, dict[str, str]]) -> None:
    """Rows for the chroots that both have, and what is to be copied for them."""
    good = [chroot for chroot in _good(build.chroots) if chroot.name in target.chroots]
    if not good:
        have = ", ".join(target.chroots)
        raise ApiError(
            400, f"builds: build {build.id} succeeded in no chroot of {target.full_name}: {have}"
        )
    own = {chroot.name: chroot for chroot in copy.chroots}
    for chroot in good:
        where = f"{copy.id:08d}-{copy.pkg_name}"
        found[chroot.name][str(chroot.result_dir)] = where
        if chroot.name not in own:
            copy.chroots.append(own.setdefault(chroot.name, BuildChroot(name=chroot.name)))
        copies.of_chroot(own[chroot.name], chroot, where)
    if build.result_dir and not build.pruned_on:
        copy.result_dir = f"{copy.id:08d}"
        found[SRPM_CHROOT][build.result_dir] = copy.result_dir


def state(session: Session, number: int) -> dict[str, Any] | None:
    """How a promotion is doing, by the number of its action."""
    action = session.get(Action, number) if 0 < number < 2**31 else None
    if action is None or action.action_type not in (
        int(ActionType.FORK),
        int(ActionType.CREATEREPO),
    ):
        return None
    word = ("waiting", "succeeded", "failed")[action.result]
    return {"action_id": action.id, "state": word, "message": action.message}
