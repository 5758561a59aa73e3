"""One running build as its worker sees it: live log, interruption, and signs of life."""

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator

import redis

from backend.exceptions import Canceled, InfrastructureError, Stopped
from backend.queues import Claim, Queues
from backend.results import ResultDir

#: A signal tells a worker to look whether it must stop; should it get lost, it looks after so
#: many seconds by itself.
ASK_EVERY = 2.0
#: How long a build that is ready waits for a Redis that is away, in seconds.
FENCE = 120.0
#: A builder that is not heard of for so long after its build's limit hangs, in seconds.
HANG = 60.0
#: The same for sources, where one read from the network may wait for a minute.
FETCH = 180.0
#: What publishing and cleaning up may take between two signs of life, in seconds; they have
#: limits of their own.
STEP = 1800.0


class BuildMonitor:
    """`beat` promises the next sign of life within so many seconds: by `deadline` (monotonic)
    and some patience, as long as nothing else is said with `limit`."""

    def __init__(
        self,
        queues: Queues,
        claim: Claim,
        results: ResultDir,
        *,
        wakeup_fd: int,
        beat: Callable[[float], None],
        deadline: float,
    ) -> None:
        self._queues, self._claim, self._results = queues, claim, results
        self._fd, self._beat, self._deadline = wakeup_fd, beat, deadline
        self._asked = time.monotonic()
        self._patience = STEP

    @property
    def attempt(self) -> int:
        """Which start of the build this is; the first is 1."""
        return self._claim.attempt

    @contextlib.contextmanager
    def limit(self, deadline: float, patience: float) -> Iterator[None]:
        """What is done now is to end at `deadline` (monotonic); it hangs when it is not heard
        of for `patience` seconds after that."""
        self._deadline, self._patience = deadline, patience
        try:
            self._alive()
            yield
        finally:
            self._patience = STEP
            self._alive()

    def output(self, data: bytes) -> None:
        """Append to builder-live.log."""
        self._alive()
        self._results.output(data)

    def wakeup_fd(self) -> int:
        """Readable after a signal."""
        return self._fd

    def check(self) -> None:
        """Raises Canceled or Stopped; asks Redis only after a signal, or after a while."""
        self._alive()
        arrived = time.monotonic() > self._asked + ASK_EVERY
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 4096):
                arrived = True
        if arrived:
            with contextlib.suppress(redis.RedisError):  # no reason to lose what is built so far
                self._look()

    def fence(self) -> None:
        """The same, without fail: to be called right before whatever others will see.

        Waits for a Redis that is away; raises InfrastructureError when that takes too long.
        """
        self._alive()
        deadline = time.monotonic() + FENCE
        while True:
            try:
                return self._look()
            except redis.RedisError as error:
                if time.monotonic() > deadline:
                    raise InfrastructureError(f"Redis is away: {error}") from error
                select.select([self._fd], [], [], 0.5)

    def settled(self) -> None:
        """The frontend and the servers with the sources have all been of use."""
        if self._claim.attempt > 1:  # a first start has no trouble behind it
            with contextlib.suppress(redis.RedisError):  # nor may an old one make a new one
                self._queues.settled(self._claim.task_id)

    def _alive(self) -> None:
        self._beat(max(0.0, self._deadline - time.monotonic()) + self._patience)

    def _look(self) -> None:
        self._asked = time.monotonic()
        current, canceled = self._queues.standing(self._claim)
        if canceled:
            raise Canceled("canceled on request")
        if not current:
            raise Stopped("a newer start of the task has taken over")
