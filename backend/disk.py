"""Whether a file system is nearly full, and whether it is one directory's doing."""

import contextlib
import os
from pathlib import Path

#: What must stay free, in bytes; on a small file system a twentieth of it.
RESERVE = 256 * 1024**2


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
