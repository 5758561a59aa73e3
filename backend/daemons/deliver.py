"""Brings reports from the outbox to the frontend, oldest first, while it takes them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from backend.constants import Status
from backend.daemons.desk import Asking, Desk
from backend.daemons.kept import Kept
from backend.daemons.withdraw import Withdraw
from backend.delivery import BATCH, Outcome, choose, patience, reduced, send
from backend.outbox import Outbox
from backend.queues import Report

#: Longest pause until a report over which the frontend breaks is sent again, in seconds.
LONGEST = 60.0
#: A request that a killed grabber has sent may still be under way at the frontend: so long, in
#: seconds, its successor does not ask whether it has arrived.
GRACE = 2.0


class Deliver:
    """One batch after the other; what is left when the frontend is away is tried again later.

    What it breaks over goes alone, in a lane of its own: no other report waits for that. `then`
    is called with each task whose report has been delivered.
    """

    def __init__(self, desk: Desk, withdraw: Withdraw, then: Callable[[str], None]) -> None:
        self._desk = desk
        self._then = then
        self._withdraw = withdraw
        self._lane, self._frontend = desk.lane("deliver"), desk.frontend()
        self._again, self._again_frontend = desk.lane("deliver-again"), desk.frontend()
        self._outbox = Outbox(desk.queues.client)
        self._kept = Kept(desk, "report", longest=LONGEST)
        self._published: set[str] = set()
        self._pause = 0.0
        self._not_before = 0.0
        self._said = ""
        self._first = True
        #: The tick at which the frontend last took a report.
        self._took = float("-inf")

    @property
    def due(self) -> float:
        """The tick at which there is something to do."""
        reported = self._desk.conveyor.reported
        again = float("inf") if self._again.busy else self._kept.due
        if self._lane.busy or all(map(self._waits, reported)):
            return again
        return min(again, self._not_before)

    def _waits(self, task_id: str) -> bool:
        return task_id in self._kept or task_id in self._published

    def withdrawn(self, task_id: str) -> None:
        """The task is not in the repository any more."""
        self._published.discard(task_id)

    def step(self, tick: float) -> None:
        """Send what is due."""
        if self._first:
            # What lies there when we begin may have been delivered by a grabber that died.
            self._first = False
            if self._outbox.sending(self._outbox.read(0)):
                self._not_before = tick + GRACE
        if tick < self.due:
            return
        if not self._lane.busy and tick >= self._not_before:
            self._send_next()
        if not self._again.busy and tick >= self._kept.due:
            self._send_again(tick)

    def _send_next(self) -> None:
        batch = self._ready(self._outbox.read(2 * BATCH))
        if not batch:  # what waits may hide what does not
            reports = self._outbox.read(0)
            batch = self._ready(reports)
            conveyor = self._desk.conveyor
            conveyor.reported &= conveyor.sending.union(report.task_id for report in reports)
        if not batch:
            return
        doubtful = self._outbox.sending(batch)
        confirmed = self._desk.conveyor.confirmed
        strange = {report.task_id for report in batch if not confirmed(report.task_id)} - doubtful
        request = partial(send, self._frontend, batch, doubtful, strange)
        self._ask(self._lane, request, batch, self._done)

    def _ask(
        self, lane: Asking, request: Any, reports: list[Report], done: Callable[[Outcome], None]
    ) -> None:
        """While it is under way nobody builds these again, even if Redis forgets the outbox."""
        sending, under_way = self._desk.conveyor.sending, {report.task_id for report in reports}
        sending |= under_way

        def ended(outcome: Outcome) -> None:
            sending.difference_update(under_way)
            done(outcome)

        lane.ask(request, ended, _impossible)

    def _ready(self, reports: list[Report]) -> list[Report]:
        """Not those of builds that failed otherwise than by their worker's word, and may still be
        in the repository."""
        for report in reports:
            unbuilt = report.build.get("status") == Status.FAILED
            unbuilt &= "started_on" not in report.build
            if unbuilt and not self._withdraw.clear(report.task_id):
                self._published.add(report.task_id)
        return choose([report for report in reports if not self._waits(report.task_id)])

    def _send_again(self, tick: float) -> None:
        reports = self._outbox.read(0)
        for report in reports:
            task_id = report.task_id
            if task_id in self._kept and self._kept.may(task_id, tick):
                request = partial(send, self._again_frontend, [report], {task_id})
                self._ask(self._again, request, [report], partial(self._done_again, report))
                return
        self._kept.only({report.task_id for report in reports})

    def _done_again(self, report: Report, outcome: Outcome) -> None:
        tick = self._desk.tick()
        if outcome.error:
            self._kept.failed(report.task_id, outcome.error, tick)
        self._settle(outcome, tick)
        if outcome.works:
            self._kept.soon(tick)

    def _done(self, outcome: Outcome) -> None:
        desk, tick = self._desk, self._desk.tick()
        self._settle(outcome, tick)
        self._pause = min(desk.config.sleeptime, 2 * self._pause or 0.5) if outcome.error else 0.0
        self._not_before = tick + self._pause
        if outcome.error and outcome.error != self._said:
            desk.events.emit(f"reports kept: {outcome.error}", "warning")
        self._said = outcome.error

    def _settle(self, outcome: Outcome, tick: float) -> None:
        if outcome.works:
            self._took = tick
        for report, text in outcome.refused:
            self._desk.events.emit(f"build {report.task_id}: report refused: {text}", "error")
        self._forget([*outcome.delivered, *(report for report, _ in outcome.refused)], tick)
        for report, text in outcome.stuck:
            self._kept.failed(report.task_id, text, tick)
            if not self._reduce(report, text, tick):
                self._outbox.to_the_end(report)

    def _reduce(self, report: Report, why: str, tick: float) -> bool:
        """After some time say less: a broken report must not be sent for ever. As long as the
        frontend takes no other report either, it is not the report's fault."""
        age = self._kept.age(report.task_id, tick)
        limit = patience(report.build, self._desk.config.trouble_timeout)
        if age < limit or self._took < tick - age:
            return False
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
            self._kept.over(report.task_id)
            self._withdraw.settled(report.task_id)
            self._desk.conveyor.delivered(report.task_id, tick)
            self._then(report.task_id)


def _impossible(error: Exception) -> None:
    raise error  # `send` reports, and raises nothing
