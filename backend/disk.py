"""The disk: whether it is nearly full and by whose doing, and files that others read from it."""

import contextlib
import fcntl
import os
import struct
import threading
from collections.abc import Iterable
from pathlib import Path

#: What must stay free, in bytes; on a small file system a twentieth of it.
RESERVE = 256 * 1024**2
#: The same of files that can still be made (inodes); never less than FEWEST.
RESERVE_FILES, FEWEST = 2500, 200
#: Of what web servers read, whatever the umask.
DIR_MODE = 0o755
FILE_MODE = 0o644

# linux/fs.h; the direction bits are those of x86, Arm, RISC-V and s390x.
_LONG = struct.Struct("l")
_FS_IOC_GETFLAGS = 0x80006601 | _LONG.size << 16
_FS_IOC_SETFLAGS = 0x40006602 | _LONG.size << 16
_FS_TOPDIR_FL = 0x00020000


def reserve(path: Path) -> int:
    """Bytes that must stay free on the file system of `path`."""
    disk = os.statvfs(path)
    return min(RESERVE, disk.f_blocks * disk.f_frsize // 20)


def reserve_files(path: Path) -> int:
    """How many files it must still be possible to make there; 0 where none are counted."""
    disk = os.statvfs(path)
    return min(RESERVE_FILES, max(FEWEST, disk.f_files // 20)) if disk.f_files else 0


def free(path: Path) -> int:
    """Bytes that nobody has taken on the file system of `path`, those kept for root among them."""
    disk = os.statvfs(path)
    return disk.f_bfree * disk.f_frsize


def low(path: Path) -> bool:
    """True when less than a reserve is left, of bytes or of files."""
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    if free < RESERVE and free < reserve(path):
        return True
    return disk.f_files > 0 and disk.f_favail < RESERVE_FILES and low_files(path)


def low_files(path: Path) -> bool:
    """True when it is files that cannot be made much longer."""
    return os.statvfs(path).f_favail < reserve_files(path)


def count(path: Path) -> int:
    """How many files and directories are below `path`."""
    return sum(len(dirs) + len(files) for _, dirs, files in os.walk(path))


def usage(path: Path) -> int:
    """Bytes that the files below `path` occupy."""
    total = 0
    for root, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118
    return total


def closed(path: Path) -> bool:
    """Something below `path` cannot be read: nobody knows what is in it."""
    errors: list[OSError] = []
    for _ in os.walk(path, onerror=errors.append):
        if any(isinstance(error, PermissionError) for error in errors):
            return True
    return any(isinstance(error, PermissionError) for error in errors)


def make_directory(path: Path, *, spread_out: bool = False) -> None:
    """Make a directory and its parents, mode 755 whatever the umask; it may exist already.

    With `spread_out` a new parent is one whose subdirectories are spread (see `spread`).
    """
    if path.is_dir():
        return
    parent = path.parent
    if spread_out and not parent.is_dir():
        make_directory(parent)
        spread(parent)
    make_directory(parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        path.chmod(DIR_MODE)


def write_file(path: Path | str, content: bytes) -> None:
    """Write a whole file, mode 644 whatever the umask; a third of the system calls of `open`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, FILE_MODE)
    try:
        os.fchmod(fd, FILE_MODE)
        append(fd, content)
    finally:
        os.close(fd)


def append(fd: int, data: bytes) -> None:
    """Write all of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def spread(path: Path) -> None:
    """Have the file system put each subdirectory of `path` somewhere else.

    ext4 keeps together what is below a directory; it gives the place of a deleted file to no
    new one for minutes, and looks at all of them each time. Where many builds begin and end,
    making a file would soon take a hundred times as long. Other file systems ignore it.
    """
    buffer = bytearray(_LONG.size)
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _FS_IOC_GETFLAGS, buffer)
            flags = _LONG.unpack(buffer)[0] | _FS_TOPDIR_FL
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, _LONG.pack(flags))
        finally:
            os.close(fd)


def sync(path: Path | str) -> None:
    """Have a file's content, or a directory's names, on disk before returning."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_all(paths: Iterable[Path]) -> None:
    """`sync` for many, all at once: what a journal commits for one, it commits for the others.

    Raises the first error when all have ended.
    """
    errors: list[BaseException] = []

    def work(path: Path) -> None:
        try:
            sync(path)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
