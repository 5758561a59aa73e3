"""What the job grabber believes of every unfinished task: pure bookkeeping, no I/O.

A task waits in the backlog, is on its way (queued or claimed: it takes a slot), or its report
waits in the outbox. Times are seconds: `now` since the epoch, `tick` of the monotonic clock.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backend.backlog import Backlog
from backend.fairshare import History
from backend.limits import Counts
from backend.pending import PendingTask

#: A task that has ended is not believed to be new for so long, in seconds; see `wake.MAX_AGE`.
MEMORY = 60.0


@dataclass(kw_only=True)
class Flight:
    """A task on its way: queued or claimed. `task` is None until the frontend has named it."""

    task: PendingTask | None
    group: int
    since: float
    tick: float
    charged: float = 0.0


@dataclass
class Conveyor:
    """Each method keeps: no task is in two of `backlog`, `flying`, `reported`."""

    history: History
    backlog: Backlog = field(default_factory=Backlog)
    flying: dict[str, Flight] = field(default_factory=dict)
    reported: set[str] = field(default_factory=set)
    #: Those whose report the frontend is being sent right now, be it in the outbox or not.
    sending: set[str] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)
    taken: Counter[int] = field(default_factory=Counter)
    _confirmed: set[str] = field(default_factory=set)
    _gone: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _fresh: dict[str, float] = field(default_factory=dict)

    def knows(self, task_id: str) -> bool:
        """True for a task that must not be started now: on its way, or reported."""
        return task_id in self.flying or task_id in self.reported

    def confirmed(self, task_id: str) -> bool:
        """True when the frontend itself has named the task since it was last reported.

        A Redis that forgot its last second may bring back a task that is long delivered.
        """
        flight = self.flying.get(task_id)
        return task_id in self._confirmed or bool(flight and flight.task)

    # --- what the frontend says -----------------------------------------------------------

    def offer(self, tasks: Iterable[PendingTask], tick: float) -> None:
        """Single new tasks, from a wake message."""
        new = [t for t in tasks if not self.knows(t.task_id) and t.task_id not in self._gone]
        self.backlog.update(new)
        self._fresh |= dict.fromkeys((task.task_id for task in new), tick)

    def mirror(self, tasks: Iterable[PendingTask], asked: float) -> list[str]:
        """All unfinished tasks, as of the tick `asked` or later.

        Returns the tasks on their way since before that which are wanted no more.
        """
        wanted = {task.task_id: task for task in tasks}
        old = self.backlog
        for name in [t.task_id for t in old if t.task_id not in wanted]:
            if self._fresh.get(name, -1.0) < asked:
                old.remove(name)
        new = []
        for name, task in wanted.items():
            flight = self.flying.get(name)
            if flight:
                self._name(flight, task)
            elif name not in self.reported and self._gone.get(name, -1.0) < asked:
                known = old.get(name)
                if known is None or known.lane != task.lane or known.priority != task.priority:
                    new.append(task)
        old.update(new)
        self._fresh = {name: tick for name, tick in self._fresh.items() if tick >= asked}
        return [n for n, f in self.flying.items() if n not in wanted and f.tick < asked]

    def _name(self, flight: Flight, task: PendingTask) -> None:
        if flight.task is None:
            flight.task = task
            self.counts.add(task)

    # --- the way of a task ----------------------------------------------------------------

    def start(self, task: PendingTask, group: int, now: float, tick: float) -> None:
        """It was put into the group's queue."""
        self.backlog.remove(task.task_id)
        cost = self.history.expected(task.kind)
        self.history.charge(task.owner, cost, now)
        self.flying[task.task_id] = Flight(
            task=task, group=group, since=now, tick=tick, charged=cost
        )
        self.counts.add(task)
        self.taken[group] += 1

    def found(self, task_id: str, group: int, since: float, tick: float) -> None:
        """It is on its way without our doing: we are new here, or somebody else queued it."""
        if task_id in self.flying:
            return
        task = self.backlog.remove(task_id)
        self.flying[task_id] = Flight(task=task, group=group, since=since, tick=tick)
        self.taken[group] += 1
        if task:
            self.counts.add(task)

    def ended(self, task_id: str, now: float, tick: float, *, reported: bool) -> None:
        """It left its worker; `reported`: its report is in the outbox."""
        flight = self._land(task_id, tick)
        if flight is None:
            return
        if reported:
            self.reported.add(task_id)
            if flight.task:
                self._confirmed.add(task_id)
        if flight.task:
            took = max(0.0, now - flight.since)
            self.history.charge(flight.task.owner, took - flight.charged, now)
            if reported:
                self.history.observe(flight.task.kind, took)

    def _land(self, task_id: str, tick: float) -> Flight | None:
        flight = self.flying.pop(task_id, None)
        if flight is None:
            return None
        self.taken[flight.group] -= 1
        if flight.task:
            self.counts.remove(flight.task)
        self._ended_at(task_id, tick)
        return flight

    def dropped(self, task_id: str, now: float, tick: float) -> None:
        """It was canceled, or taken out of its queue for good."""
        self.backlog.remove(task_id)
        self.ended(task_id, now, tick, reported=False)
        self._ended_at(task_id, tick)

    def delivered(self, task_id: str, tick: float) -> None:
        """The frontend has its report."""
        self.reported.discard(task_id)
        self._confirmed.discard(task_id)
        self._ended_at(task_id, tick)

    def taken_back(self, task_id: str, now: float, tick: float) -> bool:
        """Out of its queue, to wait again; False when the frontend must be asked for it."""
        flight = self._land(task_id, tick)
        self._gone.pop(task_id, None)
        if flight is None or flight.task is None:
            return False
        self.history.charge(flight.task.owner, -flight.charged, now)
        self.backlog.add(flight.task)
        self._fresh[task_id] = tick
        return True

    def lost(self, task_ids: Iterable[str], before: float) -> list[str]:
        """These are nowhere on the conveyor: forget those that were on their way before the
        tick, so that the frontend's next list brings them back. Returns which."""
        gone = [n for n in task_ids if n in self.flying and self.flying[n].tick < before]
        for name in gone:
            self._land(name, before)
            self._gone.pop(name, None)
        return gone

    def outbox_is(self, task_ids: Iterable[str], now: float, tick: float) -> None:
        """The tasks whose reports are in the outbox."""
        reports = {*task_ids, *self.sending}
        for name in reports & self.flying.keys():
            self.ended(name, now, tick, reported=True)
        for name in reports:
            self.backlog.remove(name)
        self.reported = reports

    def forget(self, tick: float, asked: float | None) -> None:
        """Let go of old memories; `asked`: when a fetch under way began."""
        limit = min(tick - MEMORY, tick if asked is None else asked)
        while self._gone and next(iter(self._gone.values())) < limit:
            self._gone.popitem(last=False)

    def _ended_at(self, task_id: str, tick: float) -> None:
        self._gone[task_id] = tick
        self._gone.move_to_end(task_id)  # oldest first

    def free(self, sizes: Mapping[int, int]) -> dict[int, int]:
        """Free slots by group."""
        return {group: max(0, size - self.taken[group]) for group, size in sizes.items()}
