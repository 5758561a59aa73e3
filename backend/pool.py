"""Which workers to start or retire, and when: pure."""

import signal
from collections.abc import Iterable
from dataclasses import dataclass

#: A process that dies before it is this old, in seconds, counts as "died young".
YOUNG = 2.0
#: So many failed starts in a row of something that never once was ready end the daemon.
HOPELESS = 5
#: Ended on purpose: by its own wish, or by somebody's signal.
_ASKED = (0, -signal.SIGUSR2)
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)


@dataclass(frozen=True)
class Death:
    """How one process ended: `code` as an exit code (negative: the signal)."""

    age: float
    code: int
    ready: bool
    words: str = ""

    @property
    def asked(self) -> bool:
        """It was asked to go, and went."""
        return self.code in _ASKED

    @property
    def killed(self) -> bool:
        """Somebody else ended it."""
        return self.code in _KILLED

    @property
    def young(self) -> bool:
        """By its own fault, and soon: worth a pause before the next."""
        if self.asked or (self.ready and self.killed):
            return False
        return self.age < YOUNG or not self.ready

    @property
    def failed_start(self) -> bool:
        """It ended by itself before it was ready."""
        return not (self.ready or self.asked or self.killed)


@dataclass
class Backoff:
    """When something may be started again, after how it ended before.

    Times are seconds of the monotonic clock.
    """

    proven: bool = False
    young: int = 0
    failed: int = 0
    not_before: float = 0.0
    words: str = ""

    def note(self, deaths: Iterable[Death], now: float) -> None:
        """Some ended; those that ended together count as one."""
        deaths = list(deaths)
        if not deaths:
            return
        self.proven = self.proven or any(death.ready for death in deaths)
        self.young = self.young + 1 if all(death.young for death in deaths) else 0
        self.failed = self.failed + 1 if all(death.failed_start for death in deaths) else 0
        self.words = next((death.words for death in deaths if death.words), self.words)
        self.not_before = now + restart_delay(self.young)

    def may_start(self, now: float) -> bool:
        """The pause is over."""
        return now >= self.not_before

    @property
    def hopeless(self) -> bool:
        """It was never ready, and failed too often to try once more."""
        return not self.proven and self.failed >= HOPELESS


def restart_delay(young_deaths: int) -> float:
    """Seconds to wait before the next start, after so many young deaths in a row.

    The first restart is immediate; then 0.2, 0.4, … up to 10 seconds.
    """
    return 0.0 if young_deaths <= 1 else min(0.1 * 2 ** min(young_deaths - 1, 20), 10.0)


def missing_slots(used: set[int], limit: int) -> list[int]:
    """Numbers below `limit` that no living worker has, smallest first."""
    return [slot for slot in range(limit) if slot not in used]


def lowest_free(used: set[int]) -> int:
    """The smallest number from 0 that is not in use."""
    return next(number for number in range(len(used) + 1) if number not in used)


def attempts_allowed(limit: int, others: int) -> int:
    """How many dead workers a task may cost, when so much else died lately.

    A task that kills its workers does so alone. Where `others` die too, the farm is ill, and
    tasks are only its victims: they are tried on, though not for ever.
    """
    return limit if others < 2 else 10 * limit
