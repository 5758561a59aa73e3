"""A program that looks at a running build, again and again, so that nobody waits for it."""

import os
import time
from collections.abc import Sequence

from backend.process import Child

#: It rests so many times longer than it takes, of which at most so many seconds count.
REST = 10
LONGEST = 60.0
AT_ONCE = 0.05


class Beside:
    """It prints numbers, one at the beginning of a line. `close` ends it."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self._running: tuple[Child, int] | None = None
        self._began = self._next = 0.0

    def look(self) -> list[int] | None:
        """What it has found since it was last asked, if anything; starts it when it has rested."""
        if self._running is None:
            if time.time() < self._next:
                return None
            self._begin()
        return self._found(AT_ONCE)

    def once_more(self) -> list[int] | None:
        """Start it anew and wait for what it finds; None if that takes too long."""
        self.close()
        self._begin()
        return self._found(LONGEST)

    def close(self) -> None:
        """End it, if it runs."""
        if self._running:
            child, file = self._running
            self._running = None
            child.close()
            os.close(file)

    def _begin(self) -> None:
        file = os.memfd_create("beside")
        self._began = time.time()
        self._running = Child(self._argv, stdout=file), file

    def _found(self, patience: float) -> list[int] | None:
        assert self._running
        child, file = self._running
        if child.wait(patience) is None:
            return None
        words = [line.split()[0] for line in os.pread(file, 4096, 0).splitlines() if line.strip()]
        ended = os.fstat(file).st_mtime
        self.close()
        self._next = ended + REST * max(0.0, min(ended - self._began, LONGEST))
        return [int(word) for word in words if word.isdigit()]
