"""Writes down for others how the grabber is, and why each task waits."""

import os
from collections.abc import Mapping
from typing import Any, cast

from backend import constants as names
from backend.conveyor import Conveyor
from backend.daemons.desk import Desk
from backend.estimates import Busy, Waiting, forecast
from backend.processid import ProcessId
from backend.scheduler import Rules, Use

#: So many waiting tasks are written down, the first in order.
LISTED = 1000
#: At most once a second, and never for more than a fiftieth of the time.
EVERY = 1.0
SHARE = 50.0


class Notice:
    """The hashes `copr-be:grabber` and `copr-be:waiting`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._shown: dict[str, Waiting] | None = None
        self._not_before = 0.0
        self._written = (-1, "")
        #: Epoch of the last start.
        self.started = 0.0

    @property
    def due(self) -> float:
        """The tick of the next writing, if there is news: then others should not wait for it."""
        desk = self._desk
        news = (desk.conveyor.backlog.version, desk.halted) != self._written
        return self._not_before if news else float("inf")

    def may(self, tick: float) -> bool:
        """True when the last writing is long enough ago."""
        return tick >= self._not_before

    def write(self, rules: Rules, use: Use, *, fetched: float, trouble: str, away: str) -> None:
        """Write what has changed since the last time."""
        desk, conveyor, begin = self._desk, self._desk.conveyor, self._desk.tick()
        self._written = (conveyor.backlog.version, desk.halted)
        now = desk.now()
        waiting = forecast(
            conveyor.backlog,
            rules,
            use,
            running=_busy(conveyor),
            durations=conveyor.history.durations,
            now=now,
            limit=LISTED,
            reason=lambda task: f"{rules.reason(task)}; {away}" if away else rules.reason(task),
        )
        pipe: Any = desk.queues.client.pipeline(transaction=True)
        self._differences(pipe, waiting)
        me = ProcessId.of(os.getpid())
        state = {
            "pass": round(now, 3),
            "fetched": round(fetched, 3),
            "trouble": trouble,
            "full": desk.full,
            "backlog": len(conveyor.backlog),
            "startable": _startable(conveyor, rules),
            "free": sum(rules.free.values()),
            "started": round(self.started, 3),
            "listed": len(waiting),
            "pid": os.getpid(),
            "start": me.start if me else 0,
        }
        pipe.hset(names.GRABBER_KEY, mapping=cast(Mapping[Any, Any], state))
        pipe.execute()
        tick = desk.tick()
        self._not_before = tick + max(EVERY, SHARE * (tick - begin))

    def _differences(self, pipe: Any, waiting: dict[str, Waiting]) -> None:
        before = self._shown
        if before is None:  # what a predecessor has left
            pipe.delete(names.WAITING_KEY)
            before = {}
        changed = {k: v.to_json() for k, v in waiting.items() if _news(before.get(k), v)}
        ended = before.keys() - waiting.keys()
        if changed:
            pipe.hset(names.WAITING_KEY, mapping=changed)
        if ended:
            pipe.hdel(names.WAITING_KEY, *ended)
        self._shown = {k: v if k in changed else before[k] for k, v in waiting.items()}


def _news(old: Waiting | None, new: Waiting) -> bool:
    """Changed, apart from a forecast that moves by a few seconds."""
    if old is None or (old.reason, old.position) != (new.reason, new.position):
        return True
    if old.eta is None or new.eta is None:
        return old.eta != new.eta
    return abs(old.eta - new.eta) > 5


def _busy(conveyor: Conveyor) -> list[Busy]:
    return [
        Busy(group=f.group, kind=f.task.kind if f.task else "", since=f.since)
        for f in conveyor.flying.values()
    ]


def _startable(conveyor: Conveyor, rules: Rules) -> int:
    held: dict[str, bool] = {}
    count = 0
    for task in conveyor.backlog:
        stuck = held.get(task.lane)
        if stuck is None:
            stuck = held[task.lane] = rules.held_back(task)
        count += not stuck
    return count
