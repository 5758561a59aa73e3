"""What fails for one task alone is kept: tried again less and less often, told once in the log,
and to be seen in `copr_be.py status`. Nothing else waits for it."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass

from backend import constants as names
from backend.daemons.desk import Desk
from backend.records import Trouble

#: Seconds until the second try; each later pause is twice as long, up to LONGEST.
FIRST = 1.0
LONGEST = 300.0


@dataclass
class _Entry:
    """`began` and `until` are ticks."""

    began: float
    since: float
    until: float
    tries: int = 0


class Kept:
    """Of one kind: `what` is cancel, report or withdrawal."""

    def __init__(self, desk: Desk, what: str, longest: float = LONGEST) -> None:
        self._desk = desk
        self._what = what
        self._longest = longest
        self._entries: dict[str, _Entry] = {}

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._entries

    @property
    def due(self) -> float:
        """The tick of the next try."""
        return min((entry.until for entry in self._entries.values()), default=float("inf"))

    def may(self, task_id: str, tick: float) -> bool:
        """True unless the task is to wait for its next try."""
        entry = self._entries.get(task_id)
        return entry is None or tick >= entry.until

    def age(self, task_id: str, tick: float) -> float:
        """Seconds since it first failed."""
        entry = self._entries.get(task_id)
        return tick - entry.began if entry else 0.0

    def failed(self, task_id: str, why: str, tick: float) -> None:
        """It failed, perhaps once more."""
        entry = self._entries.get(task_id)
        if entry is None:
            entry = self._entries[task_id] = _Entry(tick, self._desk.now(), tick)
            text = f"build {task_id}: {self._what} kept, to be tried again: {why}"
            self._desk.events.emit(text, "warning")
        entry.until = tick + min(self._longest, FIRST * 2**entry.tries)
        entry.tries = min(entry.tries + 1, 20)
        trouble = Trouble(
            task=task_id, what=self._what, why=why, since=entry.since, tries=entry.tries
        )
        text = json.dumps(asdict(trouble))
        self._desk.queues.client.hset(names.KEPT_KEY, f"{self._what} {task_id}", text)

    def soon(self, tick: float) -> None:
        """What they failed over may be over: try all of them."""
        for entry in self._entries.values():
            entry.until = min(entry.until, tick)

    def over(self, task_id: str) -> None:
        """It has succeeded, or nobody wants it any more."""
        if self._entries.pop(task_id, None):
            self._desk.queues.client.hdel(names.KEPT_KEY, f"{self._what} {task_id}")

    def only(self, task_ids: Collection[str]) -> None:
        """Nobody wants the others any more."""
        for task_id in self._entries.keys() - task_ids:
            self.over(task_id)
