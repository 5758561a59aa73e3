"""How much one user or project may do within an hour; kept in memory, a restart forgets it."""

import time
from collections import deque
from collections.abc import Callable, Hashable

from backend.web.errors import ApiError

HOUR = 3600.0


class Rates:
    """At most `limit` uploads (or what `what` says) by each user or project within an hour; 0: no
    limit. `option` is what an administrator can change."""

    def __init__(
        self,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        what: str = "uploads",
        option: str = "web.upload_rate",
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._what, self._option = what, option
        self._taken: dict[Hashable, deque[float]] = {}

    def take(self, who: Hashable) -> None:
        """Count one; raises ApiError 429 when it is one too many, which does not count."""
        if not self._limit:
            return
        now = self._clock()
        taken = self._taken.setdefault(who, deque())
        while taken and now - taken[0] >= HOUR:
            taken.popleft()
        if len(taken) >= self._limit:
            wait = int(HOUR - (now - taken[0])) + 1
            raise ApiError(
                429, f"{self._limit} {self._what} within an hour are enough ({self._option}):"
                f" try again in {wait // 60 + 1} min", {"Retry-After": str(wait)},
            )  # fmt: skip
        taken.append(now)
