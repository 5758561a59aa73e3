"""A signature that fits the repomd.xml which the same client has got.

They are two files: who has fetched the one, and after a publish asks for the other, would get one
that does not belong to it, and refuse the repository. So whoever gets a repomd.xml gets, for a
while, the signature that lay beside it then.
"""

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

REPOMD, SIGNATURE = "repomd.xml", "repomd.xml.asc"
#: Seconds between the two requests of one client, at most, and how many clients are remembered.
_LONGEST, _MOST = 60.0, 10_000
_LARGEST = 16 * 1024
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

#: Who asks (address and program), and for which directory.
Reader = tuple[str, str, str]


class Pairs:
    """`clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._given: OrderedDict[Reader, tuple[float, bytes]] = OrderedDict()

    def given(self, reader: Reader, repodata: int, repomd: int) -> bool:
        """The reader is to get this open repomd.xml of this open directory. False when it is not
        the one there any more: then the signature may be another one's, too."""
        signature = b""
        with (
            contextlib.suppress(OSError),
            os.fdopen(os.open(SIGNATURE, _FLAGS, dir_fd=repodata), "rb") as file,
        ):
            signature = file.read(_LARGEST)
        try:
            there = os.stat(REPOMD, dir_fd=repodata, follow_symlinks=False)
        except OSError:
            return False
        if not os.path.samestat(there, os.fstat(repomd)):
            return False
        with self._lock:
            self._given.pop(reader, None)
            if signature:
                self._given[reader] = self._clock(), signature
            while len(self._given) > _MOST:
                self._given.popitem(last=False)
        return True

    def signature(self, reader: Reader) -> bytes | None:
        """The signature of what the reader has got; None if it has got nothing of late."""
        with self._lock:
            when, signature = self._given.get(reader, (0.0, b""))
        return signature if signature and self._clock() <= when + _LONGEST else None
