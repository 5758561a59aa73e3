"""Waits for a moment on disk, such as the appearance of `success`, and says so at once."""

import contextlib
import ctypes
import os
import select
import struct
import time
from pathlib import Path

_EVENT = struct.Struct("iIII")
_CREATE, _MOVED_TO, _ISDIR = 0x100, 0x80, 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """inotify on a tree of directories, new ones included."""

    def __init__(self, top: Path) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._dirs: dict[int, Path] = {}
        self._add(top)

    def _add(self, path: Path) -> None:
        number = _libc.inotify_add_watch(self._fd, os.fsencode(path), _CREATE | _MOVED_TO)
        if number < 0:
            return
        self._dirs[number] = path
        with contextlib.suppress(OSError):
            for entry in os.scandir(path):
                if entry.is_dir(follow_symlinks=False):
                    self._add(Path(entry.path))

    def wait(self, wanted: str, seconds: float) -> Path | None:
        """The first new or renamed file whose name contains `wanted`; None after `seconds`."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._fd], [], [], left)[0]:
                return None
            data = os.read(self._fd, 65536)
            offset, found = 0, None
            while offset < len(data):
                number, mask, _, size = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                name = data[offset : offset + size].rstrip(b"\0").decode(errors="replace")
                offset += size
                path = self._dirs.get(number, Path()) / name
                if wanted in name:
                    found = found or path
                if mask & _ISDIR:
                    self._add(path)
            if found:
                return found
        return None

    def close(self) -> None:
        """Forget everything."""
        os.close(self._fd)
