"""Brings reports from the outbox to the frontend, oldest first, while it takes them."""

from collections.abc import Callable
from functools import partial

from backend.daemons.desk import Desk
from backend.daemons.withdraw import withdraw
from backend.delivery import BATCH, Outcome, choose, reduced, send
from backend.outbox import Outbox
from backend.queues import Report

#: Seconds until a report over which the frontend breaks is sent again.
STUCK = 30.0
#: So often; then less is sent.
ROUNDS = 4


class Deliver:
    """One batch after the other; what is left when the frontend is away is tried again later.

    `then` is called with each task whose report has been delivered.
    """

    def __init__(self, desk: Desk, then: Callable[[str], None]) -> None:
        self._desk = desk
        self._then = then
        self._frontend = desk.frontend()
        self._lane = desk.lane("deliver")
        self._outbox = Outbox(desk.queues.client)
        self._pause = 0.0
        self._not_before = 0.0
        self._stuck: dict[str, float] = {}
        self._rounds: dict[str, int] = {}
        self._said = ""
        self._first = True

    @property
    def due(self) -> float:
        """The tick at which there is something to do."""
        if self._lane.busy or not self._desk.conveyor.reported:
            return float("inf")
        return self._not_before

    def step(self, tick: float) -> None:
        """Send the next batch if it is time."""
        if tick < self.due:
            return
        if self._first:
            # What lay there when we began may have been delivered by a grabber that died.
            self._first = False
            self._outbox.sending(self._outbox.read(0))
        reports = self._outbox.read(2 * BATCH)
        if not reports:
            self._desk.conveyor.reported.clear()
            return
        later = {task for task, until in self._stuck.items() if until > tick}
        batch = choose(reports, without=later)
        if not batch:
            self._not_before = min(self._stuck[task] for task in later)
            return
        doubtful = self._outbox.sending(batch)
        confirmed = self._desk.conveyor.confirmed
        doubtful |= {report.task_id for report in batch if not confirmed(report.task_id)}
        prepare = partial(withdraw, self._desk.config, self._frontend)
        request = partial(send, self._frontend, batch, doubtful, prepare)
        self._lane.ask(request, self._done, self._broken)

    def _done(self, outcome: Outcome) -> None:
        desk, tick = self._desk, self._desk.tick()
        for report, text in outcome.refused:
            desk.events.emit(f"build {report.task_id}: report refused: {text}", "error")
        self._forget([*outcome.delivered, *(report for report, _ in outcome.refused)], tick)
        for report, text in outcome.stuck:
            if report.task_id not in self._stuck:
                desk.events.emit(f"build {report.task_id}: report kept: {text}", "warning")
            self._stuck[report.task_id] = tick + STUCK
            if report.task_id not in outcome.breaks or not self._reduce(report, text, tick):
                self._outbox.to_the_end(report)
        self._pause = min(desk.config.sleeptime, 2 * self._pause or 0.5) if outcome.error else 0.0
        self._not_before = tick + self._pause
        if outcome.error and outcome.error != self._said:
            desk.events.emit(f"reports kept: {outcome.error}", "warning")
        self._said = outcome.error

    def _reduce(self, report: Report, why: str, tick: float) -> bool:
        """After some rounds, say less: a broken report must not be sent for ever."""
        rounds = self._rounds[report.task_id] = self._rounds.get(report.task_id, 0) + 1
        if rounds < ROUNDS:
            return False
        self._rounds[report.task_id] = 0
        less = reduced(report.build, why)
        text = f"build {report.task_id}: the frontend breaks over its report"
        if less is None:
            self._desk.events.emit(f"{text}: dropped", "error")
            self._forget([report], tick)
        else:
            self._desk.events.emit(f"{text}: less is sent", "error")
            self._outbox.replace(report, less)
        return True

    def _forget(self, reports: list[Report], tick: float) -> None:
        if not reports:
            return
        for report in reports:
            self._desk.tell(report.task_id)
        self._outbox.delivered(reports)
        for report in reports:
            self._stuck.pop(report.task_id, None)
            self._rounds.pop(report.task_id, None)
            self._desk.conveyor.delivered(report.task_id, tick)
            self._then(report.task_id)

    def _broken(self, error: Exception) -> None:
        raise error  # `send` reports, and raises nothing
