"""Is the farm stalled, and what to do about it: decisions on values, with `now` as an argument.

Stalled means that something could go on and does not: a task in a queue beside an idle worker, a
task that its worker never began, startable tasks beside idle workers and empty queues, a job
grabber that does not look any more. A farm that is drained, whose frontend is away, whose
workers are all busy or whose tasks are held back by limits is not stalled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: What a pass of the grabber may take besides `stall_alarm`: a frontend that hangs is no stall.
LONG_PASS = 120.0
#: After the remedies, seconds between two reminders.
REMINDER = 600.0

#: What is wrong, and about whom or what: the same as long as nothing has moved.
Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """`state` of its process as in /proc (`S`, `R`, `T`, …), empty when dead; `task` that its
    claim holds; `begun` when the worker has noticed the claim."""

    name: str
    group: int
    state: str
    task: str = ""
    begun: bool = True


@dataclass(frozen=True, kw_only=True)
class View:
    """The farm at one moment. `queued`: group → next task and its attempts so far, only of
    queues that hold one; `silence`: seconds since the grabber's last pass."""

    workers: tuple[WorkerView, ...] = ()
    queued: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    startable: int = 0
    started: str = ""
    silence: float = 0.0
    grabber: str = ""
    trouble: bool = False
    drained: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """`end` and `retire` name workers; `grabber`: end the job grabber; `what`: for people."""

    what: str
    end: tuple[str, ...] = ()
    retire: tuple[str, ...] = ()
    grabber: bool = False
    over: bool = False


@dataclass
class _Case:
    since: float
    seen: float
    steps: int = 0
    acted: float = 0.0


class Sentinel:
    """`look` at the farm at least four times within `alarm` seconds; returns what to do."""

    def __init__(self, alarm: float, groups: tuple[int, ...]) -> None:
        self._alarm, self._groups = alarm, groups
        self._cases: dict[Key, _Case] = {}
        self._last = 0.0

    def forget(self) -> None:
        """Nothing is known about the time until now (Redis was away)."""
        self._cases.clear()

    def look(self, view: View, now: float) -> list[Step]:
        """`now` in seconds of a clock that never jumps."""
        if now - self._last > self._alarm:  # we slept ourselves: nothing was seen meanwhile
            self.forget()
        self._last = now
        found = findings(view, self._groups, self._alarm)
        for key in found:
            self._cases.setdefault(key, _Case(since=now, seen=now)).seen = now
        steps = [
            self._remedy(key, view, text, now)
            for key, text in found.items()
            if self._is_due(self._cases[key], now)
        ]
        return steps + self._recovered(now)

    def _is_due(self, case: _Case, now: float) -> bool:
        if not case.steps:
            return now - case.since >= self._alarm
        pause = self._alarm if case.steps < 2 else max(REMINDER, self._alarm)
        return now - case.acted >= pause

    def _remedy(self, key: Key, view: View, text: str, now: float) -> Step:
        case = self._cases[key]
        what = f"{text}, for {now - case.since:.0f} s"
        step, case.steps, case.acted = case.steps, case.steps + 1, now
        if step >= 2 or key[0] == "crewless":
            return Step(what=what)
        everybody = tuple(w.name for w in view.workers if _idle(w))
        match key[0]:
            case "held":
                return Step(what=what, end=(key[1].partition(" ")[0],))
            case "queue" if step == 0:
                return Step(what=what, retire=_of_group(view, key[1]))
            case "queue":
                return Step(what=what, end=_of_group(view, key[1]), grabber=True)
            case "backlog" if step == 1:
                return Step(what=what, retire=everybody, grabber=True)
        return Step(what=what, grabber=True)

    def _recovered(self, now: float) -> list[Step]:
        """Forget what has passed. A remedy may hide a case for a moment: those are kept longer."""
        gone = {
            key: case
            for key, case in self._cases.items()
            if now - case.seen > (self._alarm / 2 if case.steps else 0)
        }
        for key in gone:
            del self._cases[key]
        acted = [case for case in gone.values() if case.steps]
        if not acted or any(case.steps for case in self._cases.values()):
            return []
        seconds = max(case.seen - case.since for case in acted)
        return [Step(what=f"work goes on after {seconds:.0f} s", over=True)]


def _idle(worker: WorkerView) -> bool:
    return bool(worker.state) and not worker.task


def _of_group(view: View, text: str) -> tuple[str, ...]:
    group = int(text.partition(" ")[0])
    return tuple(w.name for w in view.workers if _idle(w) and w.group == group)


def findings(view: View, groups: tuple[int, ...], alarm: float) -> dict[Key, str]:
    """Everything that should not last, with a text for people."""
    found = {
        ("held", f"{w.name} {w.task}"): f"worker {w.name} holds build {w.task} and does nothing"
        for w in view.workers
        if w.task and (w.state == "T" or (w.state and not w.begun))
    }
    if view.grabber == "T":
        found["grabber", ""] = "the job grabber is stopped"
    if view.drained or view.trouble:
        return found
    if view.grabber and view.grabber != "T" and view.silence > alarm + LONG_PASS:
        found["grabber", ""] = f"the job grabber has not looked for {view.silence:.0f} s"
    crew = {group: [w for w in view.workers if w.state and w.group == group] for group in groups}
    for group, (task, attempts) in view.queued.items():
        if any(map(_idle, crew.get(group, []))):
            text = f"build {task} waits in the queue of group {group} beside idle workers"
            found["queue", f"{group} {task} {attempts}"] = text
        elif not crew.get(group):
            text = f"build {task} waits in the queue of group {group}, which has no living worker"
            found["crewless", str(group)] = text
    # Only when every group has room: the startable ones may all be for one that has none.
    if view.startable and all(
        group not in view.queued and any(map(_idle, crew[group])) for group in groups
    ):
        found["backlog", view.started] = f"{view.startable} tasks could start and do not"
    return found
