"""The master's signals: handlers note, the loop asks."""

import contextlib
import os
import select
import signal

from backend.daemons import child

DRAIN, RESUME = signal.SIGRTMIN, signal.SIGRTMIN + 1
_STOP = {signal.SIGTERM, signal.SIGINT}
_ALL = (*_STOP, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, DRAIN, RESUME)


class Signals:
    """`stopping` after SIGTERM or SIGINT, `hurry` after another one; `news` while a SIGCHLD has
    not been looked into. The rest is returned by `wait`, once."""

    def __init__(self) -> None:
        self.stopping = self.hurry = False
        self.news = True
        self._fd = -1

    def listen(self) -> None:
        """From now on they no longer have their default actions."""
        self._fd = child.wakeup_pipe(*_ALL)  # type: ignore[arg-type]  # real-time ones are ints

    def wait(self, timeout: float) -> set[int]:
        """Wait for signals, at most `timeout` seconds; returns those that came."""
        received: set[int] = set()
        if select.select([self._fd] if self._fd >= 0 else [], [], [], timeout)[0]:
            with contextlib.suppress(BlockingIOError):
                received = set(os.read(self._fd, 4096))
        stop = bool(received & _STOP)
        self.hurry = self.hurry or (self.stopping and stop)
        self.stopping = self.stopping or stop
        self.news = self.news or signal.SIGCHLD in received
        return received

    def until_hurry(self, timeout: float) -> bool:
        """While stopping: wait for news; True once somebody has no patience any more."""
        self.wait(timeout)
        return self.hurry

    def until_stop(self, timeout: float = 0.0) -> bool:
        """While starting: True once it is to be given up."""
        self.wait(timeout)
        return self.stopping
