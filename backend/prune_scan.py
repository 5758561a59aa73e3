"""Looks at the results on disk: what lies there, for `pruning` to decide on. Changes nothing."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from backend import layout
from backend.constants import SRPM_CHROOT
from backend.pruning import ALL, PACKAGES, Found
from backend.repository import listed

#: In a result directory that is going to be removed; holds how much of it.
MARK = ".pruning"
#: Directories of a chroot that hold no results.
METADATA = ("repodata", layout.DEVEL)


def subdirectories(path: Path) -> list[Path]:
    """Real directories that are nobody's private ones, by name."""
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path / name for name in sorted(names) if not name.startswith(".")]


def results(directory: Path, *, devel: bool = False) -> Iterator[Found]:
    """The result directories of a project directory; `devel`: the project publishes by hand."""
    for repo in subdirectories(directory):
        released = listed(repo) if devel and repo.name != SRPM_CHROOT else ()
        for path in subdirectories(repo):
            if path.name not in METADATA:
                with contextlib.suppress(FileNotFoundError):  # deleted while we look
                    yield replace(_look(path), released=path.name in released)


def _look(path: Path) -> Found:
    packages = logs = 0
    newest = 0.0
    for entry in path.iterdir():
        if entry.name == MARK:
            continue
        for file in entry.rglob("*") if entry.name == layout.PREVIOUS else (entry,):
            status = file.stat(follow_symlinks=False)
            newest = max(newest, status.st_mtime)
            size = status.st_blocks * 512 if status.st_nlink == 1 else 0
            if is_log(entry):
                logs += size
            else:
                packages += size
    return Found(
        owner=path.parents[2].name,
        dirname=path.parents[1].name,
        chroot=path.parent.name,
        name=path.name,
        good=(path / layout.SUCCESS).is_file(),
        since=newest or path.stat().st_mtime,
        packages=packages,
        logs=logs,
        begun=_begun(path),
        # What a rollback withholds may be given back by the next one.
        busy=_busy(path) or (path / layout.WITHHELD).is_file(),
    )


def _begun(path: Path) -> str:
    try:
        text = (path / MARK).read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return text if text == PACKAGES else ALL


def _busy(path: Path) -> bool:
    """A worker holds the directory of the build in hand."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def is_log(entry: Path) -> bool:
    """True for what counts, and goes, as logs; all else in a result directory is packages."""
    name = entry.name
    return name in (layout.BUILD_INFO, layout.PREVIOUS) or name.endswith((".log", ".log.gz"))
