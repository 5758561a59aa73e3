"""Carries out cancel requests. Each is acknowledged once its task has really ended, so that a
crash at any moment only means to do it again."""

import signal
from collections.abc import Sequence

from backend.daemons.acks import Acks
from backend.daemons.desk import Desk
from backend.daemons.withdraw import Withdraw
from backend.outbox import Outbox

#: How often the frontend is asked, in seconds, while a task is being ended, or while there is
#: work of a frontend that sends no wake messages.
ALERT = 1.0
#: A worker that still holds a canceled task after this many seconds is killed.
DEAF = 10.0


class Cancels:
    """In lanes of its own, so that no other slow answer delays a cancel."""

    def __init__(self, desk: Desk, withdraw: Withdraw) -> None:
        self._desk = desk
        self._frontend = desk.frontend()
        self._lane = desk.lane("cancels")
        self._withdraw = withdraw
        self._acks = Acks(desk, self._settled)
        self._soon = True
        self._regular = self._asked = 0.0
        #: Tasks that are being ended → since when (tick).
        self.ending: dict[str, float] = {}
        self._publishing: set[str] = set()

    @property
    def due(self) -> float:
        """The tick of the next question."""
        if self._lane.busy:
            return float("inf")
        again = max(self._acks.kept.due, self._asked + ALERT)
        return 0.0 if self._soon else min(self._regular, again)

    def soon(self) -> None:
        """Somebody has canceled something."""
        self._soon = True

    def ended(self, task_id: str) -> None:
        """The task has left its worker or the repository, or its report has been delivered."""
        self._soon |= task_id in self.ending or task_id in self._publishing

    def step(self, tick: float) -> None:
        """Ask if it is time."""
        if tick < self.due:
            return
        config, conveyor = self._desk.config, self._desk.conveyor
        work = bool(conveyor.flying) or len(conveyor.backlog) > 0
        alert = bool(self.ending) or (work and not config.embedded)
        self._soon, self._asked = False, tick
        self._regular = tick + (min(ALERT, config.sleeptime) if alert else config.sleeptime)
        self._lane.ask(self._frontend.cancel_requests, self._carry_out, lambda _: None)

    def _carry_out(self, task_ids: Sequence[str]) -> None:
        requests = list(dict.fromkeys(task_ids))
        self.ending = {task: since for task, since in self.ending.items() if task in requests}
        self._publishing &= set(requests)
        self._acks.kept.only(requests)
        for task_id in requests:
            if not self._stop(task_id) and self._unpublished(task_id):
                self._acks.add(task_id, task_id in self.ending)
        for task_id in self._desk.queues.canceled().difference(requests):
            # Acknowledged, and nobody learned of it: the answer got lost, or a grabber died.
            if not self._desk.conveyor.knows(task_id):
                self._settled(task_id)

    def _unpublished(self, task_id: str) -> bool:
        """False while it is still to be taken out of the repository."""
        # A success that the frontend took before it heard of the cancel stays one.
        if self._desk.queues.accepted(task_id) or self._withdraw.clear(task_id):
            self._publishing.discard(task_id)
            return True
        self._publishing.add(task_id)
        return False

    def _stop(self, task_id: str) -> bool:
        """Stop one task wherever it is; True if that takes time, or its report is to go first."""
        desk, queues, tick = self._desk, self._desk.queues, self._desk.tick()
        queues.request_cancel(task_id)  # first: from here on no success is reported
        flight = desk.conveyor.flying.get(task_id)
        if flight and not queues.remove(flight.group, task_id) and self._running(task_id, tick):
            return True
        if task_id in desk.conveyor.reported and not self._unreported(task_id, tick):
            self.ending.setdefault(task_id, tick)
            return True
        desk.conveyor.dropped(task_id, desk.now(), tick)
        return False

    def _unreported(self, task_id: str, tick: float) -> bool:
        """Take back the report of a source build, unless it is under way: the frontend would make
        chroots for it, which nobody builds and nobody cancels."""
        conveyor, outbox = self._desk.conveyor, Outbox(self._desk.queues.client)
        if not task_id.isdigit() or task_id in conveyor.sending:
            return False
        outbox.delivered([report for report in outbox.read(0) if report.task_id == task_id])
        conveyor.delivered(task_id, tick)
        return True

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

    def _settled(self, task_id: str) -> None:
        self.ending.pop(task_id, None)
        self._publishing.discard(task_id)
        self._withdraw.settled(task_id)
        self._desk.queues.forget(task_id)
        self._desk.tell(task_id)
