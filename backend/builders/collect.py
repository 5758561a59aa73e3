"""What a build leaves behind is hostile until proven otherwise: the only way results get out.

The results directory is opened before the build and read after all its processes are dead.
Nothing in it is followed, and files are taken by renaming, so that no copy can be raced.
"""

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from backend.exceptions import BuildError

SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~^-]*\.rpm")
SAFE_LOG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,60}\.log")
MAX_RESULTS = 10_000
MAX_LOGS = 50


def open_directory(path: Path) -> int:
    """A descriptor of the directory itself, whatever happens to its name later."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def take(results: int, out: Path, *, others: bool = False) -> tuple[str, ...]:
    """Move the RPM files of directory `results` to `out` under their names.

    They become ours: our owner, mode 0644. Raises BuildError that names the first entry
    which is no plain file, has a second name, or an odd one. With `others` what is not called
    `.rpm` is left where it is.
    """
    mode = stat.S_IMODE(os.fstat(results).st_mode)
    if mode & stat.S_IRWXU != stat.S_IRWXU:  # closed by the build, and we may be its user
        os.fchmod(results, mode | stat.S_IRWXU)
    names = [name for name in os.listdir(results) if not others or name.endswith(".rpm")]
    if len(names) > MAX_RESULTS:
        raise BuildError(f"the build left {len(names)} results: more than {MAX_RESULTS}")
    for name in sorted(names):
        _check(results, name)
    target = open_directory(out)
    try:
        for name in names:
            _move(results, name, target)
    finally:
        os.close(target)
    return tuple(sorted(names))


def take_logs(results: int, out: Path, limit: int) -> tuple[str, ...]:
    """Copy the `.log` files of directory `results` to `out`, of each at most the last `limit`
    bytes; what is no plain file under a usual name is left out."""
    taken: list[str] = []
    for name in sorted(os.listdir(results)):
        if not SAFE_LOG.fullmatch(name) or len(taken) >= MAX_LOGS:
            continue
        with contextlib.suppress(OSError):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=results)
            with open(fd, "rb") as source:
                info = os.fstat(fd)
                if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
                    continue
                source.seek(max(0, info.st_size - limit))
                with (out / name).open("wb") as target:
                    _copy(source, target, limit)
            taken.append(name)
    return tuple(taken)


def _copy(source: BinaryIO, target: BinaryIO, limit: int) -> None:
    while limit > 0 and (data := source.read(min(limit, 1024 * 1024))):
        target.write(data)
        limit -= len(data)


def _check(directory: int, name: str) -> None:
    if not SAFE_NAME.fullmatch(name) or len(name) > 250:
        raise BuildError(f"refused result {name!a}: no usual name of an RPM file")
    info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISREG(info.st_mode):
        raise BuildError(f"refused result {name}: not a regular file")
    if info.st_nlink != 1:
        raise BuildError(f"refused result {name}: it has {info.st_nlink} names (hard links)")


def _move(directory: int, name: str, target: int) -> None:
    os.rename(name, name, src_dir_fd=directory, dst_dir_fd=target)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if os.geteuid() != 0:  # our own file: the build may have made it unreadable
        os.chmod(name, 0o644, dir_fd=target)
    fd = os.open(name, flags, dir_fd=target)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
            raise BuildError(f"refused result {name}: not a plain file")
        if os.geteuid() == 0:
            os.fchown(fd, 0, 0)
        os.fchmod(fd, 0o644)
    finally:
        os.close(fd)


def read_note(results: int, name: str, limit: int) -> bytes | None:
    """Take the file `name` out of directory `results` and return its content; None if missing.

    Raises BuildError if it is no plain file or longer than `limit`.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=results)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BuildError(f"refused result {name}: {error.strerror}") from error
    with open(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1 or info.st_size > limit:
            raise BuildError(f"refused result {name}: no plain file of at most {limit} bytes")
        content = file.read(limit)
    os.unlink(name, dir_fd=results)
    return content
