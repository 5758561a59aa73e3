"""Keeps the backlog equal to the frontend's list of unfinished tasks."""

import time

from backend.daemons.desk import Desk
from backend.pending import PendingTask

#: After a fetch the next one waits so many times its duration, but no longer than CALM seconds.
MANNERS = 5.0
CALM = 60.0


class Mirror:
    """Fetches at least each `sleeptime` seconds, and when `soon` was called."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._frontend = desk.frontend()
        self._lane = desk.lane("mirror")
        self._began = 0.0
        self._regular = 0.0
        self._calm_until = 0.0
        self._soon = True
        #: Epoch of the last good fetch, and why there is none now (empty: there is).
        self.fetched = 0.0
        self.trouble = ""
        self.away_since = 0.0

    @property
    def due(self) -> float:
        """The tick of the next fetch."""
        if self._lane.busy:
            return float("inf")
        return max(self._calm_until, 0.0 if self._soon else self._regular)

    @property
    def asked(self) -> float | None:
        """The tick at which the fetch under way began."""
        return self._began if self._lane.busy else None

    def soon(self) -> None:
        """Something is new that only the frontend knows."""
        self._soon = True

    def step(self, tick: float) -> None:
        """Fetch if it is time."""
        if tick < self.due:
            return
        self._began, self._soon = tick, False
        self._lane.ask(self._frontend.pending, self._done, self._failed)

    def _done(self, answer: tuple[list[PendingTask], list[str]]) -> None:
        tasks, problems = answer
        desk = self._desk
        tick = desk.tick()
        self._calm_until = tick + min(CALM, MANNERS * (tick - self._began))
        self._regular = self._began + desk.config.sleeptime
        self.fetched = desk.now()
        if self.trouble:
            desk.events.emit("the frontend answers again", kind="frontend.back")
            self.trouble = ""
        for problem in problems:
            desk.events.emit(f"pending-jobs/: {problem}", "error")
        for task_id in desk.conveyor.mirror(tasks, self._began):
            if desk.queues.remove(desk.conveyor.flying[task_id].group, task_id):
                desk.conveyor.dropped(task_id, desk.now(), tick)
                desk.queues.lapse(task_id)
        for task_id in desk.queues.put_off_tasks() - {task.task_id for task in tasks}:
            if not desk.conveyor.knows(task_id):
                desk.queues.lapse(task_id)

    def _failed(self, error: Exception) -> None:
        text = str(error)
        self._regular = self._desk.tick() + self._desk.config.sleeptime
        if text != self.trouble:
            what = f"frontend trouble, trying again: {text}"
            self._desk.events.emit(what, "error", kind="frontend.away")
        if not self.trouble:
            self.away_since = self._desk.now()
        self.trouble = text

    def away(self) -> str:
        """A sentence for people while the frontend is away; else empty."""
        if not self.trouble:
            return ""
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.away_since))
        return f"the frontend is away since {clock}"
