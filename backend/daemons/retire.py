"""SIGUSR2 to a worker: finish the build in hand, then go; an idle one goes at once.

An idle worker is blocked in a claim, and a claim that is simply broken off may just then be
given a task. So the server is asked to end it (CLIENT UNBLOCK): it answers either with nothing,
or with a task, which is built first.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator

import redis

#: How often the wish is repeated while the server is not blocked yet, in seconds.
AGAIN = 0.2


class Retirement:
    """`unblock` asks the server to end this worker's blocking claim; it must return soon."""

    def __init__(self, unblock: Callable[[], None]) -> None:
        self.asked = False
        self._unblock = unblock
        self._blocking = False

    def listen(self) -> None:
        """Take SIGUSR2 from now on; SIGALRM repeats it, for a signal that came just before
        the claim was sent."""
        for number in (signal.SIGUSR2, signal.SIGALRM):
            signal.signal(number, lambda *_: self._ask())

    def _ask(self) -> None:
        self.asked = True
        if self._blocking:
            with contextlib.suppress(redis.RedisError, OSError):  # the claim ends by itself
                self._unblock()
            signal.setitimer(signal.ITIMER_REAL, AGAIN)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """The body is a blocking claim."""
        self._blocking = True
        try:
            if self.asked:
                signal.setitimer(signal.ITIMER_REAL, AGAIN)
            yield
        finally:
            self._blocking = False
            signal.setitimer(signal.ITIMER_REAL, 0)
