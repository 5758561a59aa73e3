"""Packs the logs of a build once nobody writes them any more: x.log becomes x.log.gz."""

import gzip
import os
import shutil

from backend.disk import FILE_MODE, write_file

_PIECE = 256 * 1024


def turn(prefix: str, name: str, fd: int) -> None:
    """Turn the log `prefix + name` into `.gz`; at each moment at least one of the two is there,
    complete. `fd` is open on it for reading, or -1: there may be one of an earlier attempt."""
    log, target, temporary = prefix + name, f"{prefix}{name}.gz", f"{prefix}.{name}.gz.tmp"
    try:
        if fd >= 0:
            pack(fd, temporary)
        else:
            fd = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                pack(fd, temporary)
            finally:
                os.close(fd)
        os.replace(temporary, target)  # noqa: PTH105
        os.unlink(log)  # noqa: PTH108
    except FileNotFoundError:
        return  # no log, or somebody is deleting the directory


def pack(fd: int, target: str) -> None:
    """Write all of the open file, compressed, as `target`."""
    head = os.pread(fd, _PIECE, 0)
    if len(head) < _PIECE:
        write_file(target, gzip.compress(head, 6))
        return
    os.lseek(fd, 0, os.SEEK_SET)
    with (
        open(fd, "rb", buffering=0, closefd=False) as plain,
        gzip.open(target, "wb", compresslevel=6) as packed,
    ):
        shutil.copyfileobj(plain, packed, _PIECE)
    os.chmod(target, FILE_MODE)  # noqa: PTH101
