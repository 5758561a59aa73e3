"""Watches logs that people follow: one look for all readers of one log."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds between looks at a log that somebody follows.
LOOK = 0.7
#: Bytes in one event.
PIECE = 64 * 1024
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(eq=False)
class Tailer:
    """Watches one log while somebody follows it."""

    path: Path
    readers: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    size: int = 0
    inode: int = 0
    gone: bool = False
    #: Start → event and its end: readers at the same place share the work.
    events: dict[int, tuple[bytes, int]] = field(default_factory=dict)

    def look(self) -> None:
        """See how long the log is; wakes the readers when that has changed."""
        try:
            status = self.path.stat(follow_symlinks=False)
        except OSError:
            self.gone = True
            self._wake()
            return
        if (status.st_size, status.st_ino) != (self.size, self.inode):
            self.size, self.inode, self.gone = status.st_size, status.st_ino, False
            self._wake()

    def _wake(self) -> None:
        self.events.clear()
        self.grown.set()
        self.grown = asyncio.Event()

    def event(self, start: int) -> tuple[bytes, int]:
        """The event with what was there after byte `start` at the last look, and its end."""
        if start not in self.events:
            try:
                fd = os.open(self.path, _FLAGS)
            except OSError:
                self.gone = True
                return b"", start
            try:
                data = os.pread(fd, max(0, min(PIECE, self.size - start)), start)
            finally:
                os.close(fd)
            data = whole(data)
            end = start + len(data)
            self.events[start] = (encode(data, end), end) if data else (b"", start)
        return self.events[start]


def whole(data: bytes) -> bytes:
    """The data without a character that is cut in two at its end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if wanted > back else data
    return data


def encode(data: bytes, end: int) -> bytes:
    """One event; JSON, since a log has line ends of all kinds."""
    return f"id: {end}\ndata: {json.dumps(data.decode('utf-8', 'replace'))}\n\n".encode()


class Tailers:
    """The logs that are followed now, each looked at by one task."""

    def __init__(self) -> None:
        self._open: dict[Path, tuple[Tailer, asyncio.Task[None]]] = {}

    @contextlib.contextmanager
    def following(self, path: Path) -> Iterator[Tailer]:
        """Share the tailer of `path`; the last one to leave ends it."""
        if path not in self._open:
            tailer = Tailer(path)
            tailer.look()
            self._open[path] = tailer, asyncio.get_running_loop().create_task(_watch(tailer))
        tailer, task = self._open[path]
        tailer.readers += 1
        try:
            yield tailer
        finally:
            tailer.readers -= 1
            if not tailer.readers:
                task.cancel()
                del self._open[path]

    @property
    def paths(self) -> list[Path]:
        """What is followed."""
        return list(self._open)


async def _watch(tailer: Tailer) -> None:
    while True:
        await asyncio.sleep(LOOK)
        tailer.look()
