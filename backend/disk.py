"""The disk: whether it is nearly full and by whose doing, and files that others read from it."""

import contextlib
import os
from pathlib import Path

#: What must stay free, in bytes; on a small file system a twentieth of it.
RESERVE = 256 * 1024**2
#: Of what web servers read, whatever the umask.
DIR_MODE = 0o755
FILE_MODE = 0o644


def reserve(path: Path) -> int:
    """Bytes that must stay free on the file system of `path`."""
    disk = os.statvfs(path)
    return min(RESERVE, disk.f_blocks * disk.f_frsize // 20)


def low(path: Path) -> bool:
    """True when less than the reserve is free."""
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    return free < RESERVE and free < reserve(path)


def usage(path: Path) -> int:
    """Bytes that the files below `path` occupy."""
    total = 0
    for root, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118
    return total


def make_directory(path: Path) -> None:
    """Make a directory and its parents, mode 755 whatever the umask; it may exist already."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        path.chmod(DIR_MODE)


def sync(path: Path) -> None:
    """Have a file's content, or a directory's names, on disk before returning."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
