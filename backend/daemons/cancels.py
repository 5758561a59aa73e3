"""Carries out cancel requests. Each is acknowledged once its task has really ended, so that a
crash at any moment only means to do it again."""

import signal
from collections.abc import Sequence
from functools import partial

from backend.config import Config
from backend.daemons.desk import Desk
from backend.daemons.withdraw import withdraw
from backend.exceptions import FrontendRefused
from backend.frontend import Frontend

#: How often the frontend is asked, in seconds, while a task is being ended, or while there is
#: work of a frontend that sends no wake messages.
ALERT = 1.0
#: A worker that still holds a canceled task after this many seconds is killed.
DEAF = 10.0


class Cancels:
    """In a lane of its own, so that no other slow answer delays a cancel."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._frontend = desk.frontend()
        self._lane = desk.lane("cancels")
        self._soon = True
        self._regular = 0.0
        #: Tasks that are being ended → since when (tick).
        self.ending: dict[str, float] = {}

    @property
    def due(self) -> float:
        """The tick of the next question."""
        if self._lane.busy:
            return float("inf")
        return 0.0 if self._soon else self._regular

    def soon(self) -> None:
        """Somebody has canceled something."""
        self._soon = True

    def ended(self, task_id: str) -> None:
        """The task has left its worker, or its report has been delivered."""
        self._soon |= task_id in self.ending

    def step(self, tick: float) -> None:
        """Ask if it is time."""
        if tick < self.due:
            return
        config, conveyor = self._desk.config, self._desk.conveyor
        work = bool(conveyor.flying) or len(conveyor.backlog) > 0
        alert = bool(self.ending) or (work and not config.embedded)
        self._soon = False
        self._regular = tick + (min(ALERT, config.sleeptime) if alert else config.sleeptime)
        self._lane.ask(self._frontend.cancel_requests, self._carry_out, lambda _: None)

    def _carry_out(self, task_ids: Sequence[str]) -> None:
        requests = list(dict.fromkeys(task_ids))
        self.ending = {task: since for task, since in self.ending.items() if task in requests}
        ended = [task_id for task_id in requests if not self._stop(task_id)]
        if ended:
            # A success that the frontend took before it heard of the cancel stays one.
            kept = {task_id for task_id in ended if self._desk.queues.accepted(task_id)}
            settled = [(task, task in self.ending, task not in kept) for task in ended]
            request = partial(_settle, self._desk.config, self._frontend, settled)
            self._lane.ask(request, lambda _: self._settled(ended), lambda _: None)

    def _stop(self, task_id: str) -> bool:
        """Stop one task wherever it is; True if that takes time, or its report is to go first."""
        desk, queues, tick = self._desk, self._desk.queues, self._desk.tick()
        queues.request_cancel(task_id)  # first: from here on no success is reported
        flight = desk.conveyor.flying.get(task_id)
        if flight and not queues.remove(flight.group, task_id) and self._running(task_id, tick):
            return True
        if task_id in desk.conveyor.reported:
            self.ending.setdefault(task_id, tick)
            return True
        desk.conveyor.dropped(task_id, desk.now(), tick)
        return False

    def _running(self, task_id: str, tick: float) -> bool:
        """True while a worker holds the task; it is told, and killed if it is deaf."""
        queues = self._desk.queues
        for worker, held in queues.claims().items():
            if held == task_id:
                since = self.ending.setdefault(task_id, tick)
                holder = queues.holder(worker)
                if holder:
                    deaf = tick - since > DEAF
                    holder[0].signal(signal.SIGKILL if deaf else signal.SIGUSR1)
                return True
        return False

    def _settled(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            self.ending.pop(task_id, None)
            self._desk.queues.forget(task_id)
            self._desk.tell(task_id)


def _settle(config: Config, frontend: Frontend, settled: Sequence[tuple[str, bool, bool]]) -> None:
    """Acknowledge what has ended. Runs in the lane."""
    for task_id, was_running, unwanted in settled:
        if unwanted:
            withdraw(config, frontend, task_id)
        try:
            frontend.canceled(task_id, was_running)
        except FrontendRefused:  # deleted meanwhile: nothing to acknowledge
            continue
