"""What runs next, and why the rest waits: a pure function of values.

Order: priority (source, RPM, background source, background RPM), then the owner's decayed
recent use, then age. What one limit holds back lets the others pass.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from backend.backlog import PRIORITIES, Arranged, Backlog, Pile
from backend.fairshare import GUESS
from backend.limits import Counts, Limits
from backend.pending import PendingTask

#: Use, age, owner, the owner's next task, and those after it: a turn in the heap of owners.
_Turn = tuple[float, tuple[int, str], str, PendingTask, Iterator[PendingTask]]


@dataclass(frozen=True, kw_only=True)
class Slots:
    """A builder group as the scheduler sees it: what it builds, and how much more at once."""

    archs: tuple[str, ...]
    free: int
    size: int = 0
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Use:
    """Who used how much: `History.used`, and what a start of each kind adds to it."""

    used: Mapping[str, float]
    cost: Callable[[PendingTask], float]


#: Without a history all owners are equal, and a start costs what one is guessed to take.
EQUAL = Use(used={}, cost=lambda _task: GUESS)


class Gate(Protocol):
    """What may pass. What did not pass once never will: architectures in `closed`, tasks whose
    lane is in `stuck`."""

    closed: set[str | None]
    stuck: set[str]

    def owner_stuck(self, owner: str, /) -> bool:
        """True when nothing of this owner passes."""

    def group_for(self, task: PendingTask, /) -> int | None:
        """Where the task passes to; None: it does not, and `closed` or `stuck` says so."""


class Rules:
    """What may start, given what already does."""

    def __init__(
        self, groups: Mapping[int, Slots], limits: Limits, running: Counts, halted: str
    ) -> None:
        self.closed: set[str | None] = set()
        self.stuck: set[str] = set()
        self.groups, self.limits, self.counts, self.halted = groups, limits, running, halted
        self.free = {group: max(0, slots.free) for group, slots in groups.items()}
        self._fitting: dict[str | None, list[int]] = {}

    def fitting(self, arch: str | None) -> list[int]:
        """Groups that build for the architecture (None: any)."""
        found = self._fitting.get(arch)
        if found is None:
            found = [g for g, s in self.groups.items() if arch is None or arch in s.archs]
            self._fitting[arch] = found
        return found

    def owner_stuck(self, owner: str) -> bool:
        """True when nothing of this owner may start now."""
        if owner in self.limits.blocked_owners:
            return True
        limit = self.limits.owner
        return bool(limit and self.counts.by[("owner", owner)] >= limit)

    def full(self, arch: str | None) -> bool:
        """True when nothing more may start for the architecture."""
        if arch not in self.closed and not any(self.free[group] for group in self.fitting(arch)):
            self.closed.add(arch)
        return arch in self.closed

    def group_for(self, task: PendingTask) -> int | None:
        """The fitting group with most room; None when the task must wait."""
        if self.full(task.arch):
            return None
        name = "blocked_by" if task.blocked_by else self.counts.reached(self.limits, task)
        if name in ("builds_max_workers", "builds_max_workers_arch"):
            self.closed.add(task.arch)
        elif name:
            self.stuck.add(task.lane)
        else:
            return max(self.fitting(task.arch), key=self.free.__getitem__)
        return None

    def start(self, task: PendingTask, group: int) -> None:
        """The task takes one of the group's slots."""
        self.free[group] -= 1
        self.counts.add(task)

    def never(self, task: PendingTask) -> bool:
        """True when the task waits for a person, not for its turn."""
        blocked = bool(task.blocked_by) or task.owner in self.limits.blocked_owners
        return blocked or not self.fitting(task.arch)

    def held_back(self, task: PendingTask) -> bool:
        """True when a free slot alone would not help the task."""
        return bool(self.halted) or self.never(task) or bool(self.counts.reached(self.limits, task))

    def held(self, task: PendingTask) -> str:
        """Why the task could not start even with free slots; empty if it could."""
        if self.halted:
            return self.halted
        if task.blocked_by:
            return task.blocked_by
        if task.owner in self.limits.blocked_owners:
            return f"owner {task.owner} is blocked (blocked_owners)"
        if not self.fitting(task.arch):
            return f"no builder group builds {task.arch}: add it to a group's archs"
        name = self.counts.reached(self.limits, task)
        return self.counts.explain(self.limits, task, name) if name else ""

    def reason(self, task: PendingTask) -> str:
        """Why the task waits, for people."""
        return self.held(task) or self._busy(self.fitting(task.arch))

    def _busy(self, fitting: list[int]) -> str:
        if any(self.free[group] for group in fitting):
            return "it is about to start"
        groups = [self.groups[group] for group in fitting]
        size = sum(max(slots.size, slots.free) for slots in groups)
        names = ", ".join(slots.name or str(g) for g, slots in zip(fitting, groups, strict=True))
        who = f"group {names}" if len(groups) == 1 else f"groups {names}"
        if not size:
            return f"{who} has no workers: raise its max_workers"
        if size == 1:
            return f"the only worker of {who} is busy"
        return f"all {size} workers of {who} are busy"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`start`: (task, group id) to enqueue now, in order. The reasons are worked out on demand."""

    start: tuple[tuple[PendingTask, int], ...]
    backlog: Arranged
    rules: Rules

    def reason(self, task: PendingTask) -> str:
        """Why a task that is not in `start` waits."""
        return self.rules.reason(task)

    @property
    def waiting(self) -> Mapping[str, str]:
        """Task id → reason, of everything that waits."""
        texts: dict[str, str] = {}
        found: dict[str, str] = {}
        for task in self.backlog:
            text = texts.get(task.lane)
            if text is None:
                text = texts[task.lane] = self.reason(task)
            found[task.task_id] = text
        for task, _ in self.start:
            found.pop(task.task_id, None)
        return found


def plan(
    backlog: Collection[PendingTask] | Backlog,
    groups: Mapping[int, Slots],
    *,
    limits: Limits | None = None,
    running: Counts | None = None,
    use: Use = EQUAL,
    drained: str = "",
) -> Plan:
    """Fill the free slots. Nothing that is passed in is changed.

    A `Backlog` is used as it is; any other collection of tasks is arranged first. `running`
    counts what already runs (or is on its way to a worker); `drained` says why nothing may start.
    """
    arranged = backlog if isinstance(backlog, Backlog) else Pile(backlog)
    halted = f"the farm is drained: {drained}" if drained else ""
    rules = Rules(groups, limits or Limits(), running.copy() if running else Counts(), halted)
    start: dict[str, tuple[PendingTask, int]] = {}
    scores = dict(use.used)
    for priority in () if drained else PRIORITIES:
        demand = arranged.demand(priority)
        if all(rules.full(arch) for arch in demand):
            continue
        for task, group in _in_turn(arranged.owners(priority), scores, use.cost, rules):
            if task.task_id not in start:
                rules.start(task, group)
                start[task.task_id] = (task, group)
            if not rules.free[group] and all(rules.full(arch) for arch in demand):
                break
    return Plan(start=tuple(start.values()), backlog=arranged, rules=rules)


def _in_turn(
    owners: Iterable[tuple[str, Iterator[PendingTask]]],
    scores: dict[str, float],
    cost: Callable[[PendingTask], float],
    gate: Gate,
) -> Iterator[tuple[PendingTask, int]]:
    """What the gate lets pass: always the oldest task of the owner with the least use, who is
    charged for it at once."""
    turns: list[_Turn] = []
    for owner, rest in owners:
        if not gate.owner_stuck(owner):
            task = next(rest)
            turns.append((scores.get(owner, 0.0), task.age, owner, task, rest))
    heapq.heapify(turns)
    while turns:
        score, _, owner, task, rest = turns[0]
        group = gate.group_for(task)
        if group is not None:
            scores[owner] = score = score + cost(task)
            yield task, group
            following = None if gate.owner_stuck(owner) else next(rest, None)
        else:
            following = _next_passing(rest, gate)
        if following is None:
            heapq.heappop(turns)
        else:
            heapq.heapreplace(turns, (score, following.age, owner, following, rest))


def _next_passing(rest: Iterator[PendingTask], gate: Gate) -> PendingTask | None:
    closed, stuck = gate.closed, gate.stuck
    for task in rest:
        if task.arch in closed or task.lane in stuck:  # what most are: no call for each
            continue
        if gate.group_for(task) is not None:
            return task
    return None


class _Hopeful:
    """The gate that keeps back only what waits for a person."""

    def __init__(self, rules: Rules) -> None:
        self.closed: set[str | None] = set()
        self.stuck: set[str] = set()
        self._rules = rules

    def owner_stuck(self, _owner: str, /) -> bool:
        return False

    def group_for(self, task: PendingTask, /) -> int | None:
        if self._rules.never(task):
            self.stuck.add(task.lane)
            return None
        return 0


def in_order(backlog: Arranged, use: Use, rules: Rules) -> Iterator[PendingTask]:
    """The waiting tasks in the order in which they get their turn when no limit interferes;
    without those that only a person can release."""
    scores = dict(use.used)
    for priority in PRIORITIES:
        for task, _ in _in_turn(backlog.owners(priority), scores, use.cost, _Hopeful(rules)):
            yield task
