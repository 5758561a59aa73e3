"""Position and probable start of what waits. Pure values; times in seconds since the epoch."""

import heapq
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

from backend.backlog import Arranged
from backend.pending import PendingTask
from backend.scheduler import Rules, Use, in_order

#: One that runs longer than usual is expected to take at least so much longer still.
_LATE = 0.1


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Why a task waits, at which place (1 is next), and when it will probably start.

    `eta` is None where nothing honest can be said; `group` where several may build it.
    """

    reason: str
    position: int
    eta: int | None
    group: int | None

    def to_json(self) -> str:
        """For the hash that others read."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Busy:
    """A taken slot: of which group, for what kind of task, since when."""

    group: int
    kind: str
    since: float


def forecast(
    backlog: Arranged,
    rules: Rules,
    use: Use,
    *,
    running: Iterable[Busy],
    durations: Mapping[str, float],
    now: float,
    limit: int,
    reason: Callable[[PendingTask], str] | None = None,
) -> dict[str, Waiting]:
    """The first `limit` waiting tasks; those that nothing but a person can release come last."""
    slots = _slots(rules, running, durations, now)
    found: dict[str, Waiting] = {}
    ordered = in_order(backlog, use, rules)
    hopeless = (task for task in backlog if rules.never(task))
    why = reason or rules.reason
    texts: dict[str, str] = {}
    for task in itertools.islice(itertools.chain(ordered, hopeless), limit):
        if task.lane not in texts:
            texts[task.lane] = why(task)
        fitting = rules.fitting(task.arch)
        eta = None
        if not rules.held_back(task):
            eta = _next_start(slots, fitting, durations.get(task.kind))
        group = fitting[0] if len(fitting) == 1 else None
        found[task.task_id] = Waiting(
            reason=texts[task.lane], position=len(found) + 1, eta=eta, group=group
        )
    return found


def _slots(
    rules: Rules, running: Iterable[Busy], durations: Mapping[str, float], now: float
) -> dict[int, list[float]]:
    """For each group a heap of the times at which its slots get free; infinite: unknown."""
    slots: dict[int, list[float]] = {group: [] for group in rules.groups}
    for busy in running:
        usual = durations.get(busy.kind, math.inf)
        so_far = now - busy.since
        # What is over its time has something unusual to do: nobody believes "any moment" twice.
        late = max(so_far * _LATE, so_far - usual)
        end = max(busy.since + usual, now + late)
        if busy.group in slots:
            slots[busy.group].append(end)
    for group, times in slots.items():
        times.extend([now] * rules.free[group])
        heapq.heapify(times)
    return slots


def _next_start(
    slots: Mapping[int, list[float]], fitting: list[int], duration: float | None
) -> int | None:
    """Take the slot that is free first."""
    times = min((slots[g] for g in fitting if slots[g]), key=lambda t: t[0], default=None)
    if times is None or math.isinf(times[0]):
        return None
    start = times[0]
    heapq.heapreplace(times, math.inf if duration is None else start + duration)
    return math.ceil(start)
