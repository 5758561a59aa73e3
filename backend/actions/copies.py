"""Actions that copy builds: a fork of a project, a release that leaves rawhide."""

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from backend import layout, publishset
from backend.action import Action
from backend.actions.yard import Yard, disk, remove
from backend.constants import SRPM_CHROOT
from backend.disk import FILE_MODE, make_directory
from backend.exceptions import ActionError
from backend.process import find, run
from backend.repository import publish
from backend.rpmfile import is_signed
from backend.sign import ProjectSigner
from backend.taskfields import component

_PART = ".copying-"


def fork(action: Action, yard: Yard) -> None:
    """Copy builds into another project: signed with its key, not with the first one's.

    Everything is copied before anything is published, and readers of a repository then see all
    of the copies at one instant. A source project without results is nothing to be copied. Our
    own frontend says `devel` when the target publishes by hand.
    """
    source = yard.path(*_full_name(action.old_value, "old_value"))
    target_names = _full_name(action.new_value, "new_value")
    target = yard.path(*target_names)
    chroots = {
        chroot: {component(old, "builds_map"): component(new, "builds_map")
                 for old, new in _object(builds).items()}
        for chroot, builds in action.mapping("builds_map").items()
    }  # fmt: skip
    if not source.is_dir():
        yard.say(f"{action.label}: {action.old_value} has no results: nothing to copy")
        return
    with disk(target):
        make_directory(target)
    signer = yard.signer(*target_names)
    if signer:
        signer.prepare()
    finish = partial(_forked, signer)
    copied = [
        chroot
        for chroot, builds in chroots.items()
        if _copy_set(action, yard, source / chroot, target / chroot, builds, finish=finish)
    ]
    for chroot in copied:
        if chroot != SRPM_CHROOT:
            repo = target / chroot
            publish(
                repo,
                mark=partial(publishset.release, repo, f"{action.id}"),
                devel_url=yard.devel_url(action.flag("devel"), *target_names, chroot),
                policy=yard.policy(repo),
            )


def _copy_set(
    action: Action,
    yard: Yard,
    source: Path,
    repo: Path,
    builds: Mapping[str, str],
    *,
    finish: Callable[[Path, Path], None],
) -> bool:
    """Copy them into `repo`, where they do not count yet; False when there is none."""
    there = {
        new: yard.result(source, old)
        for old, new in builds.items()
        if yard.result(source, old).is_dir() or yard.result(repo, new).is_dir()
    }
    if any(not (repo / new).is_dir() for new in there) and source.name != SRPM_CHROOT:
        with disk(repo):
            make_directory(repo)
            publishset.hold(repo, f"{action.id}", there)
    for new, wanted in there.items():
        _copy(wanted, repo / new, finish)
    return bool(there)


def _full_name(value: str | None, field: str) -> tuple[str, str]:
    owner, _, name = (value or "").partition("/")
    return component(owner, field), component(name, field)


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ActionError("'builds_map' holds something that is no object")
    return value


def rawhide_to_release(action: Action, yard: Yard) -> None:
    """Give a branched release the builds that were made for rawhide."""
    where = (action.name("ownername"), action.name("copr_dir"))
    rawhide, repo = (
        yard.path(*where, action.name(field)) for field in ("rawhide_chroot", "dest_chroot")
    )
    origin = f"\nfrom_chroot={rawhide.name}"

    def finish(copy: Path, _: Path) -> None:
        info = copy / layout.BUILD_INFO
        if info.is_file():
            info.write_bytes(info.read_bytes() + origin.encode())

    with disk(repo):
        make_directory(repo)
    for name in action.names("builds"):
        source = yard.result(rawhide, name)
        if source.is_dir():
            _copy(source, yard.result(repo, name), finish, link=True)
    publish(repo, policy=yard.policy(repo))


def _copy(
    source: Path, target: Path, finish: Callable[[Path, Path], None], *, link: bool = False
) -> None:
    """Copy a result directory; it appears under its name only when `finish` has changed it.

    With `link` the packages are hard links: nobody changes a package in place.
    """
    part = target.with_name(_PART + target.name)
    with disk(target):
        if target.exists():
            return
        remove(part)
        make_directory(part.parent)
        shutil.copytree(source, part, symlinks=True, copy_function=_link if link else shutil.copy2)
        finish(part, target)
        part.rename(target)


def _link(source: str, target: str) -> None:
    if source.endswith(".rpm"):
        with contextlib.suppress(OSError):  # too many links, another file system
            os.link(source, target, follow_symlinks=False)
            return
    shutil.copy2(source, target, follow_symlinks=False)


def _forked(signer: ProjectSigner | None, copy: Path, target: Path) -> None:
    """Exchange the signatures, or take them off, and say whose build it is now."""
    packages = sorted(copy.glob("*.rpm"))
    if signer and target.parent.name != SRPM_CHROOT:
        signer.sign_copies(packages)
    else:
        _take_signatures_off([path for path in packages if is_signed(path)])
    info = copy / layout.BUILD_INFO
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        number = int(target.name[:8]) if target.name[:8].isdecimal() else 0
        own = [f"build_id={number}" if line.startswith("build_id=") else line for line in lines]
        info.write_text("\n".join(own), encoding="utf-8")


def _take_signatures_off(signed: list[Path]) -> None:
    if not signed:
        return
    result = run([find("rpmsign"), "--delsign", *map(str, signed)], timeout=600)
    if result.code:
        raise OSError(f"rpmsign --delsign: {result.last_line}")
    for path in signed:
        path.chmod(FILE_MODE)
