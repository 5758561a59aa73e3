"""Who used how much of late, and how long things take: what fairness and estimates rest on.

Pure values; time comes as an argument, in seconds since the epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

#: Seconds that a task is taken to need until the first of its kind has ended.
GUESS = 60.0
#: Weight of the newest duration in the running mean.
_FRESH = 0.2
#: Owners with fewer seconds of use, after decay, are forgotten.
_NOTHING = 1.0
#: Stored weights are rescaled after so many half-lives.
_RESCALE = 40.0
_MAX_KINDS = 1000


@dataclass
class History:
    """Decayed worker-seconds by owner; each halves in `half_life` seconds (0: no fairness).

    Everything is stored as if it had been used at `start`, so that a comparison of two owners
    needs no arithmetic: a second used now weighs `weight(now)`.
    """

    half_life: float
    start: float
    used: dict[str, float] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)

    def weight(self, now: float) -> float:
        """What one second used now adds to `used`."""
        if not self.half_life:
            return 0.0
        self.start = min(self.start, now)  # a clock put back: else nothing fades until then
        age = (now - self.start) / self.half_life
        if age > _RESCALE:
            self._rescale(now, 0.5**age)
            age = 0.0
        return float(2.0**age)

    def _rescale(self, now: float, factor: float) -> None:
        aged = {owner: value * factor for owner, value in self.used.items()}
        self.used = {owner: value for owner, value in aged.items() if value >= _NOTHING}
        self.start = now

    def charge(self, owner: str, seconds: float, now: float) -> None:
        """The owner has used (or will use) so many worker-seconds; negative: fewer than charged."""
        weight = self.weight(now)
        if weight:
            self.used[owner] = max(0.0, self.used.get(owner, 0.0) + seconds * weight)

    def seconds(self, owner: str, now: float) -> float:
        """Decayed use, in seconds."""
        weight = self.weight(now)
        return self.used.get(owner, 0.0) / weight if weight else 0.0

    def observe(self, kind: str, seconds: float) -> None:
        """A task of this kind took so long."""
        old = self.durations.get(kind)
        if old is None and len(self.durations) >= _MAX_KINDS:
            self.durations.pop(next(iter(self.durations)))
        self.durations[kind] = seconds if old is None else old + _FRESH * (seconds - old)

    def expected(self, kind: str) -> float:
        """Seconds that one will probably take."""
        return self.durations.get(kind, GUESS)

    def to_json(self, now: float) -> dict[str, Any]:
        """What to store. Owners whose use has faded are left out, here and in memory."""
        if self.half_life:
            self._rescale(now, 1 / self.weight(now))
        return {"when": now, "used": self.used, "durations": self.durations}

    @classmethod
    def from_json(cls, raw: Any, half_life: float, now: float) -> Self:
        """What was stored, aged since; anything unreadable is an empty history."""
        history = cls(half_life=half_life, start=now)
        try:
            age = max(0.0, now - float(raw["when"]))
            factor = 0.5 ** (age / half_life) if half_life else 0.0
            history.used = {k: v * factor for k, v in _numbers(raw["used"]).items()}
            history.durations = _numbers(raw["durations"])
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
            return cls(half_life=half_life, start=now)
        return history


def _numbers(raw: Mapping[Any, Any]) -> dict[str, float]:
    found = {str(key): float(value) for key, value in raw.items()}
    return {key: value for key, value in found.items() if 0.0 <= value < 1e12}
