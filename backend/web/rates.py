"""How much one user may do within an hour; kept in memory, a restart forgets it."""

import time
from collections import deque
from collections.abc import Callable

from backend.web.errors import ApiError

HOUR = 3600.0


class Rates:
    """At most `limit` uploads by each user within an hour; 0: no limit."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._taken: dict[str, deque[float]] = {}

    def take(self, user: str) -> None:
        """Count one upload; raises ApiError 429 when it is one too many."""
        if not self._limit:
            return
        now = self._clock()
        taken = self._taken.setdefault(user, deque())
        while taken and now - taken[0] >= HOUR:
            taken.popleft()
        if len(taken) >= self._limit:
            minutes = int((HOUR - (now - taken[0])) // 60) + 1
            raise ApiError(
                429, f"{self._limit} uploads within an hour are enough (web.upload_rate):"
                f" try again in {minutes} min"
            )  # fmt: skip
        taken.append(now)
