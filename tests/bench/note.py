"""How a task says that it runs: one line into a FIFO, with the machine's monotonic clock.

No reader is needed while a measurement runs: the pipe holds some 20,000 lines. Everybody who is
measured notes in the same way, so that nobody pays more for it than another.
"""

import fcntl
import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

#: Environment variable that names the FIFO.
VARIABLE = "COPR_BENCH_FIFO"
_SIZE = 1 << 20  # F_SETPIPE_SZ; what an unprivileged process may have
_fd = -1


@dataclass(frozen=True)
class Line:
    """`what` happened to number `number`, at `when` (time.monotonic)."""

    what: str
    number: int
    when: float


def note(what: str, number: int) -> None:
    """Say that it happens now; the first call of a process opens the FIFO."""
    global _fd  # noqa: PLW0603  (one descriptor a process)
    if _fd < 0:
        _fd = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_CLOEXEC)
    os.write(_fd, f"{what} {number} {time.monotonic()!r}\n".encode())


class Board:
    """The reading end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _SIZE)
        self._rest = b""

    def read(self, timeout: float) -> list[Line]:
        """All lines that have come, after waiting up to `timeout` seconds for the first."""
        if not select.select([self._fd], [], [], timeout)[0]:
            return []
        *lines, self._rest = (self._rest + os.read(self._fd, _SIZE)).split(b"\n")
        return [
            Line(what, int(number), float(when))
            for what, number, when in (line.decode().split() for line in lines)
        ]

    def wait(self, what: str, numbers: set[int], timeout: float) -> dict[int, float]:
        """When `what` happened to each of `numbers` first; TimeoutError if it does not."""
        found: dict[int, float] = {}
        deadline = time.monotonic() + timeout
        while missing := numbers - found.keys():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{len(missing)} of {len(numbers)} tasks did not run in time")
            for line in self.read(left):
                if line.what == what:
                    found.setdefault(line.number, line.when)
        return found

    def close(self) -> None:
        """Close the reading end and remove the FIFO."""
        os.close(self._fd)
        self.path.unlink()
