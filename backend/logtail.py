"""Reads the end of a log, and counts what comes before it."""

import os
from pathlib import Path

from backend.triage import Tail

_PIECE = 1024 * 1024


def read(path: Path, window: int) -> Tail:
    """The last lines of a log, at most `window` bytes; empty when it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            left = max(0, os.fstat(fd).st_size - window)
            before, lines = 0, 0
            while left > 0 and (data := file.read(min(left, _PIECE))):
                left -= len(data)
                before += len(data)
                lines += data.count(b"\n")
            rest = file.read(window)
    except OSError:
        return Tail()
    if before:  # begin with a whole line
        cut = rest.find(b"\n") + 1
        before, lines, rest = before + cut, lines + (cut > 0), rest[cut:]
    return Tail(data=rest, offset=before, lines=lines)
