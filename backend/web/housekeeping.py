"""Removes what deleted projects, builds and finished uploads leave on disk."""

import logging
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.config import Config
from backend.constants import SRPM_CHROOT, Source, Status
from backend.exceptions import InfrastructureError
from backend.layout import SUCCESS
from backend.prune import discard
from backend.repository import Manners, policy, withdraw
from backend.web import actions, settings
from backend.web.models import Build, Project
from backend.web.states import upload_is_done
from backend.web.store import Context

#: Name of the file that holds what a webhook was sent, beside uploaded packages.
PAYLOAD = "hook_payload"
_STORED = (Source.UPLOAD, Source.CUSTOM)
_log = logging.getLogger(__name__)


def uploads(ctx: Context) -> Path:
    """Directory of the uploaded packages."""
    return ctx.config.statedir / "uploads"


def _remove(path: Path) -> bool:
    """Remove a directory tree; a symbolic link is removed itself, never followed. False when
    something of it is left."""
    try:
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
    except OSError as error:
        _log.error("cannot remove %s: %s; remove it by hand", path, error)
        return not path.exists()
    return True


def forget_upload(ctx: Context, build: Build) -> None:
    """Remove the uploaded package of a build, or what a webhook was sent.

    Copies of a build (forks) name the upload of the original, which is not theirs.
    """
    if any(chroot.status == Status.FORKED for chroot in build.chroots):
        return
    if build.source_type in _STORED and build.source.get("tmp"):
        _remove(uploads(ctx) / Path(build.source["tmp"]).name)


def keep_payload(ctx: Context, data: bytes) -> str:
    """Store what a webhook was sent, for the script of its build; returns the random name."""
    token = secrets.token_hex(16)
    directory = uploads(ctx) / token
    directory.mkdir(parents=True, mode=0o755)
    (directory / PAYLOAD).write_bytes(data)
    return token


def sweep_uploads(config: Config, session: Session) -> None:
    """Remove uploads that no unfinished build needs: those of a process that was killed.

    Only before the first request is served: an upload in progress belongs to no build yet.
    """
    directory = config.statedir / "uploads"
    if not directory.is_dir():
        return
    unfinished = select(Build).where(Build.source_type.in_([int(kind) for kind in _STORED]))
    needed = {b.source.get("tmp") for b in session.scalars(unfinished) if not upload_is_done(b)}
    for entry in directory.iterdir():
        if entry.name not in needed:
            _remove(entry)


def remove_project(ctx: Context, project: Project, noted: int | None) -> None:
    """Remove the results of a project and of its side directories `name:*`.

    What cannot be removed now is left to the action `noted` (`actions.delete_project`); None: it
    has to look in any case.
    """
    owner = ctx.config.destdir / project.owner
    good = True
    if not owner.is_symlink() and owner.is_dir():
        for entry in owner.iterdir():
            if entry.name == project.name or entry.name.startswith(f"{project.name}:"):
                good &= _discard(entry)
    if good and noted is not None:
        with ctx.writing() as session:
            actions.done(session, [noted])


def _discard(path: Path) -> bool:
    """Remove a directory, which disappears at one instant."""
    if path.is_symlink():
        return _remove(path)
    try:
        discard(path)
    except OSError as error:
        _log.error("cannot remove %s: %s", path, error)
        return not path.exists()
    return True


def remove_builds(ctx: Context, builds: Sequence[Build], noted: Sequence[int] | None) -> None:
    """Remove the results of builds: first from their repositories' metadata, then from disk.

    What cannot be removed now is left to the actions `noted` (`actions.delete_builds`); None:
    all of it, because an older action still copies them.
    """
    if noted is None:
        for build in builds:
            forget_upload(ctx, build)
    elif _remove_builds(ctx, builds):
        with ctx.writing() as session:
            actions.done(session, noted)


def _remove_builds(ctx: Context, builds: Sequence[Build]) -> bool:
    good = True
    listed: dict[tuple[Path, str], list[Path]] = {}
    for build in builds:
        forget_upload(ctx, build)
        project = ctx.config.destdir / build.project.owner / build.dirname
        if build.result_dir:
            good &= _remove(project / SRPM_CHROOT / Path(build.result_dir).name)
        for chroot in build.chroots:
            if not chroot.result_dir:
                continue
            directory = project / chroot.name / Path(chroot.result_dir).name
            if not directory.is_symlink() and _may_be_listed(directory):
                where = f"{build.project.owner}/{build.dirname}/{chroot.name}"
                devel = settings.of(build.project, "devel_mode")
                url = f"{ctx.config.results_url}/{quote(where, safe='/@:+~^')}" if devel else ""
                listed.setdefault((directory.parent, url), []).append(directory)
            else:
                good &= _remove(directory)
    for (repo, url), directories in listed.items():
        good &= _withdraw(ctx.config, repo, url, directories)
    return good


def _may_be_listed(directory: Path) -> bool:
    """A publisher that was killed may have listed packages without the mark of success."""
    return (directory / SUCCESS).exists() or any(directory.glob("*.rpm"))


def _withdraw(config: Config, repo: Path, devel_url: str, directories: list[Path]) -> bool:
    manners = Manners(who="the frontend, deleting builds", say=_log.warning)
    try:
        names = [path.name for path in directories]
        rules = policy(config, repo)
        withdraw(repo, names, devel_url=devel_url, manners=manners, policy=rules)
    except InfrastructureError as error:
        _log.error("the results of deleted builds stay for now: %s", error)
        return False
    left = [path for path in directories if not _remove(path)]
    return not left
