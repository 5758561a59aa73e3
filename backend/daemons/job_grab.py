"""The job grabber: mirrors the frontend's unfinished work and decides what runs next.

Crash-only: it keeps nothing that it cannot read again from the frontend and from Redis.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import redis

from backend import layout, pool, scheduler, truth, wake
from backend.config import Config, Group
from backend.daemons import child
from backend.daemons.board import beat
from backend.daemons.worker import failed_report
from backend.events import Events
from backend.exceptions import (
    FrontendError,
    FrontendRefused,
    InfrastructureError,
    ProtocolError,
)
from backend.frontend import Frontend
from backend.job import PendingTask, RpmTask
from backend.queues import Queues, Report
from backend.redis_server import connect
from backend.repository import Manners, retract

#: Longest time that one pass may take, in seconds: its requests have limits of their own.
PASS = 180.0
#: Longest time that a repository may take to be published again, in seconds.
PUBLISH = 600.0
_MANNERS = Manners(who="the job grabber", patience=PUBLISH / 2, timeout=PUBLISH / 2)
#: A worker that still holds a canceled task after this many seconds is killed.
DEAF = 10.0


@dataclass
class Picture:
    """Where the tasks are, by what Redis says: read in one go, out of date at once."""

    queued: dict[int, list[str]]
    claims: dict[str, str]
    reported: list[str]

    def known(self) -> set[str]:
        """Every task that is somewhere on the conveyor."""
        queued = (task for tasks in self.queued.values() for task in tasks)
        return {*queued, *self.claims.values(), *self.reported}


@dataclass
class JobGrab:
    """`look` is one pass; `backlog` holds the unfinished tasks that are not on the conveyor."""

    config: Config
    frontend: Frontend
    queues: Queues
    events: Events
    backlog: dict[str, PendingTask] = field(default_factory=dict)
    #: Tasks that are being canceled → since when (monotonic).
    ending: dict[str, float] = field(default_factory=dict)
    _found: set[str] | None = None
    _trouble: str = ""
    _faults: frozenset[truth.Fault] = frozenset()

    def picture(self) -> Picture:
        """Read where everything is. Queues before claims before outbox: the way tasks move, so
        that one on the move is seen twice rather than not at all."""
        queued = {group.id: self.queues.queued(group.id) for group in self.config.groups}
        claims = self.queues.claims()
        return Picture(queued, claims, [report.task_id for report in self.queues.outbox()])

    def look(self, fetch: bool) -> None:
        """One pass. `fetch` asks the frontend too, else only freed slots are filled."""
        self.return_dead_claims()
        self.deliver()
        if fetch:
            self._guarded(self.refresh)
        if fetch or self.ending:
            self._guarded(self.cancel)
        self.fill()

    def _guarded(self, step: Callable[[], None]) -> None:
        """The frontend's troubles are said once, and the pass goes on."""
        try:
            step()
            if self._trouble and step == self.refresh:
                self.events.emit("the frontend answers again", kind="frontend.back")
                self._trouble = ""
        except (FrontendError, FrontendRefused) as error:
            if str(error) != self._trouble:
                text = f"frontend trouble, trying again: {error}"
                self.events.emit(text, "error", kind="frontend.away")
            self._trouble = str(error)

    def refresh(self) -> None:
        """Compare the frontend's unfinished tasks with the conveyor."""
        before = self.picture().known()
        tasks, problems = self.frontend.pending()
        for problem in problems:
            self.events.emit(f"pending-jobs/: {problem}", "error")
        after = self.picture()
        self._repair(after)
        # A task that was on its way when we asked may have been finished since.
        busy = before | after.known()
        wanted = {task.task_id: task for task in tasks}
        self.backlog = {name: task for name, task in wanted.items() if name not in busy}
        for group, queued in after.queued.items():
            for task_id in queued:
                if task_id not in wanted and task_id in before:
                    self.queues.remove(group, task_id)

    def _repair(self, now: Picture) -> None:
        """Put right what two pictures in a row agree on."""
        found = frozenset(truth.faults(now.queued, now.claims, now.reported))
        for fault in found & self._faults:
            if fault.group is None:
                self.queues.supersede(fault.task)
            else:
                self.queues.remove(fault.group, fault.task)
            text = f"build {fault.task}: {fault.why}: put right"
            self.events.emit(text, "error", kind="task.doubled")
        self._faults = found

    def fill(self) -> None:
        """Enqueue what idle workers can take at once."""
        if not self.backlog:
            return
        now = self.picture()
        groups = {group.id: self._slots(group, now) for group in self.config.groups}
        known = now.known()
        waiting = [task for name, task in self.backlog.items() if name not in known]
        for task, group in scheduler.plan(waiting, groups).start:
            self.queues.enqueue(group, task.task_id)
            del self.backlog[task.task_id]

    def _slots(self, group: Group, now: Picture) -> scheduler.Slots:
        prefix = f"{group.id}-"
        busy = sum(worker.startswith(prefix) for worker in now.claims)
        free = group.max_workers - busy - len(now.queued[group.id])
        return scheduler.Slots(archs=group.archs, free=max(0, free))

    def return_dead_claims(self) -> None:
        """Put back what dead workers held; a task that killed too many is failed."""
        held = self.queues.claims()
        known = self.queues.holders({*held, *self.queues.workers()})
        for worker, holder in known.items():
            if holder and holder[0].alive:
                continue
            if worker in held:
                number = worker.partition("-")[0]
                group = holder[1] if holder else int(number) if number.isdecimal() else -1
                if group >= 0:  # else the frontend's list brings it back
                    self._rescue(worker, group, held[worker])
            self.queues.bury(worker)

    def _rescue(self, worker: str, group: int, task_id: str) -> None:
        deaths = self.queues.count_death(task_id)
        others = self.queues.note_death(task_id, time.time())
        if deaths >= pool.attempts_allowed(self.config.max_attempts, others):
            text = f"its worker died {deaths} times: given up (max_attempts)"
            self.queues.post(failed_report(task_id, text), worker)
            self.events.emit(f"build {task_id}: failed: {text}", "error", kind="task.failed")
        else:
            self.queues.give_back(worker, group)
            text = f"build {task_id}: worker {worker} died, starting again"
            self.events.emit(text, "warning", kind="task.again")

    def cancel(self) -> None:
        """Carry out cancel requests; each is acknowledged once its task has really ended, so
        that a crash at any moment only means to do it again."""
        requests = self.frontend.cancel_requests()
        self.ending = {task: since for task, since in self.ending.items() if task in requests}
        for task_id in requests:
            beat(self.config.sleeptime + PASS)
            self.backlog.pop(task_id, None)
            self.queues.request_cancel(task_id)  # first: from here on no success is reported
            for group in self.config.groups:
                self.queues.remove(group.id, task_id)
            if self._stop(task_id):
                continue
            if task_id in [report.task_id for report in self.queues.outbox()]:
                self.ending.setdefault(task_id, time.monotonic())
                continue  # it ended before the cancel: its report goes first
            self._withdraw(task_id)
            self.queues.forget(task_id)
            self._tell(task_id)
            with contextlib.suppress(FrontendRefused):  # deleted meanwhile
                self.frontend.canceled(task_id, self.ending.pop(task_id, None) is not None)

    def _stop(self, task_id: str) -> bool:
        """True while a living worker holds the task; it is told, and killed if it is deaf."""
        for worker, held in self.queues.claims().items():
            if held == task_id:
                holder = self.queues.holder(worker)
                since = self.ending.setdefault(task_id, time.monotonic())
                deaf = time.monotonic() - since > DEAF
                return bool(holder and holder[0].signal(signal.SIGKILL if deaf else signal.SIGUSR1))
        return False

    def _withdraw(self, task_id: str) -> None:
        """A task that ends otherwise than by its worker's success is not in the repository.

        An attempt may have died just after it had published.
        """
        try:
            record = None if task_id.isdigit() else self.frontend.task(task_id)
            if record is not None:
                task = RpmTask.from_record(record)
                beat(self.config.sleeptime + PASS + PUBLISH)
                manners = Manners(
                    who="the job grabber, canceling",
                    say=self.events.emit,
                    patience=PUBLISH / 2,
                    timeout=PUBLISH / 2,
                )
                retract(layout.repo_path(self.config.destdir, task), task.result_dir, manners)
        except (FrontendRefused, ProtocolError):
            return  # the frontend does not know it any more: nor do its readers
        except InfrastructureError as error:
            raise FrontendError(f"build {task_id}: {error}") from error  # try again later

    def deliver(self) -> None:
        """Send what is in the outbox, oldest first, until it is empty or the frontend is away."""
        for report in self.queues.outbox():
            beat(self.config.sleeptime + PASS)
            try:
                if report.build.get("status") == 0 and not report.build.get("result_dir"):
                    self._withdraw(report.task_id)
                sent = self.queues.sending(report) or report.raw in self._doubtful()
                if not sent or self._still_wanted(report):
                    self.frontend.update([report.build])
            except FrontendRefused as error:
                self.events.emit(f"build {report.task_id}: report refused: {error}", "error")
            except FrontendError as error:
                self.events.emit(f"build {report.task_id}: report kept: {error}", "warning")
                return
            self._tell(report.task_id)
            self.queues.delivered(report)

    def _tell(self, task_id: str) -> None:
        """The webhook asks the frontend whether the build is finished by that."""
        if self.config.webhook_url:
            self.events.emit(f"build {task_id}: reported", "debug", kind="task.reported")

    def _doubtful(self) -> set[str]:
        """What lay in the outbox when we began: it may have been delivered by a grabber that
        died, to a Redis that forgot its last second."""
        if self._found is None:
            self._found = {report.raw for report in self.queues.outbox()}
        return self._found

    def _still_wanted(self, report: Report) -> bool:
        """Terminal updates are not idempotent: ask before one is sent a second time."""
        tasks, _ = self.frontend.pending()
        return any(task.task_id == report.task_id for task in tasks)

    def add(self, tasks: Iterable[PendingTask]) -> None:
        """Take in tasks that a wake message named, unless they are already on the conveyor."""
        fresh = {task.task_id: task for task in tasks}
        if fresh:
            known = self.picture().known()
            self.backlog |= {name: task for name, task in fresh.items() if name not in known}

    def run(self) -> None:
        """Pass after pass, woken by messages, at the latest after `sleeptime` seconds."""
        pubsub = self.queues.subscribe()
        self.queues.note_death(f"jobgrab-{os.getpid()}", time.time())
        fetch = True
        while True:
            beat(self.config.sleeptime + PASS)
            self.look(fetch)
            message = pubsub.get_message(timeout=float(self.config.sleeptime))
            fetch = message is None
            while message is not None:
                news = wake.decode(str(message.get("data")), time.time())
                self.add(news.tasks)
                # Without the frontend's own list we would not know of cancels.
                fetch = fetch or news.fetch or news.why in ("cancel", "dead")
                message = pubsub.get_message(timeout=0.0)


def main(config: Config, password: str, parent: int) -> None:
    """Entry point of the forked job grabber."""
    child.become("jobgrab", parent)
    client = connect(config, timeout=max(30.0, config.sleeptime + 10.0))
    events = Events(client, "jobgrab")
    grab = JobGrab(config, Frontend(config.frontend_url, password), Queues(client), events)

    def work() -> None:
        try:
            grab.run()
        except redis.RedisError as error:
            events.emit(f"Redis is away: {error}", "error")

    child.main(work, lambda text: events.emit(text, "error"))
