"""Acknowledges canceled tasks, each in a request of its own; a few at once, so that one over
which the frontend is silent holds up no other."""

from collections.abc import Callable
from functools import partial

from backend.daemons.desk import Desk
from backend.daemons.kept import Kept
from backend.exceptions import FrontendBroken, FrontendRefused, FrontendSilent

#: Requests at once.
LANES = 3


class Acks:
    """`done` is called with each task that the frontend has taken, or does not know."""

    def __init__(self, desk: Desk, done: Callable[[str], None]) -> None:
        self._desk = desk
        self._done = done
        self._lanes = [(desk.lane(f"cancel-{n}"), desk.frontend()) for n in range(LANES)]
        #: Tasks to be acknowledged → whether they were running.
        self._waiting: dict[str, bool] = {}
        self._asked: set[str] = set()
        self._said = ""
        self.kept = Kept(desk, "cancel")

    def add(self, task_id: str, was_running: bool) -> None:
        """The task has really ended."""
        if task_id not in self._asked and self.kept.may(task_id, self._desk.tick()):
            self._waiting.setdefault(task_id, was_running)
            self._pump()

    def _pump(self) -> None:
        for lane, frontend in self._lanes:
            if not self._waiting:
                return
            if not lane.busy:
                # What has failed before goes last: it may take long to fail again.
                task_id = next((t for t in self._waiting if t not in self.kept), "")
                task_id = task_id or next(iter(self._waiting))
                request = partial(frontend.canceled, task_id, self._waiting.pop(task_id))
                self._asked.add(task_id)
                lane.ask(request, partial(self._over, task_id), partial(self._failed, task_id))

    def _over(self, task_id: str, _: object = None) -> None:
        self._asked.discard(task_id)
        self.kept.over(task_id)
        self._done(task_id)
        self._pump()

    def _failed(self, task_id: str, error: Exception) -> None:
        if isinstance(error, FrontendRefused):  # deleted meanwhile: nothing to acknowledge
            self._over(task_id)
            return
        self._asked.discard(task_id)
        if isinstance(error, FrontendBroken | FrontendSilent):
            self.kept.failed(task_id, str(error), self._desk.tick())
        elif str(error) != self._said:
            self._said = str(error)
            self._desk.events.emit(f"cancels kept: {error}", "warning")
        if not isinstance(error, FrontendBroken):
            self._waiting.clear()  # it may be away: its next list brings them back
        self._pump()
