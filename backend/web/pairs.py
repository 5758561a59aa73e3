"""A signature that fits the repomd.xml which the same client has got.

They are two files: who has fetched the one, and after a publish asks for the other, would get one
that does not belong to it, and refuse the repository. So it is noted who got which repomd.xml, and
for a while the signature of that state is what he gets.
"""

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import BinaryIO

REPOMD, SIGNATURE = "repomd.xml", "repomd.xml.asc"
#: Where a repository keeps its states, beside `repodata`; each is a directory with both files.
STATES = (".repo", "states")
#: Seconds between the two requests of one client, at most; clients, and states looked through.
_LONGEST, _MOST, _STATES = 60.0, 10_000, 50
_LARGEST = 1024**2
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

#: Who asks (address and program), and for which directory.
Reader = tuple[str, str, str]


class Pairs:
    """`clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[Reader, tuple[float, bytes]] = OrderedDict()

    def given(self, reader: Reader, file: BinaryIO) -> None:
        """This repomd.xml, open at its start, is what the reader gets."""
        digest = _digest(file)
        with self._lock:
            self._seen.pop(reader, None)
            self._seen[reader] = self._clock(), digest
            while len(self._seen) > _MOST:
                self._seen.popitem(last=False)

    def other(self, reader: Reader, repodata: int) -> int | None:
        """Descriptor of the signature that the reader needs, when it is not that of the state in
        the directory `repodata`."""
        with self._lock:
            when, digest = self._seen.get(reader, (0.0, b""))
        if not digest or self._clock() > when + _LONGEST or _of(repodata) == digest:
            return None
        try:
            return _search(repodata, digest)
        except OSError:
            return None


def _digest(file: BinaryIO) -> bytes:
    content = file.read(_LARGEST)
    file.seek(0)
    return hashlib.sha256(content).digest()


def _of(directory: int) -> bytes:
    """Digest of the repomd.xml in a directory; empty without one."""
    try:
        with os.fdopen(os.open(REPOMD, _FLAGS, dir_fd=directory), "rb") as file:
            return _digest(file)
    except OSError:
        return b""


def _search(repodata: int, digest: bytes) -> int | None:
    states = os.open("..", _FLAGS | os.O_DIRECTORY, dir_fd=repodata)
    for name in STATES:
        states = _into(states, name)
    try:
        with os.scandir(states) as entries:
            names = sorted(entry.name for entry in entries if entry.name.isdecimal())
        for name in names[: -_STATES - 1 : -1]:  # the newest first
            state = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=states)
            try:
                if _of(state) == digest:
                    return os.open(SIGNATURE, _FLAGS, dir_fd=state)
            finally:
                os.close(state)
    finally:
        os.close(states)
    return None


def _into(directory: int, name: str) -> int:
    try:
        return os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=directory)
    finally:
        os.close(directory)
