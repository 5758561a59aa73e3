"""The job grabber: mirrors the frontend's unfinished work and decides what runs next.

Crash-only: it keeps nothing that it cannot read again from the frontend and from Redis.
"""

import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import redis

from backend import scheduler, wake
from backend.config import Config, Group
from backend.daemons import child
from backend.daemons.board import beat
from backend.daemons.worker import failed_report
from backend.events import Events
from backend.exceptions import FrontendError, FrontendRefused
from backend.frontend import Frontend
from backend.job import PendingTask
from backend.queues import Queues, Report
from backend.redis_server import connect

#: Longest time that one pass may take, in seconds: its requests have limits of their own.
PASS = 180.0


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
    _trouble: str = ""

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
        # A task that was on its way when we asked may have been finished since.
        busy = before | after.known()
        wanted = {task.task_id: task for task in tasks}
        self.backlog = {name: task for name, task in wanted.items() if name not in busy}
        for group, queued in after.queued.items():
            for task_id in queued:
                if task_id not in wanted and task_id in before:
                    self.queues.remove(group, task_id)

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
        for worker in {*held, *self.queues.workers()}:
            holder = self.queues.holder(worker)
            if holder and holder[0].alive:
                continue
            if worker in held:
                group = holder[1] if holder else int(worker.partition("-")[0])
                self._rescue(worker, group, held[worker])
            self.queues.bury(worker)

    def _rescue(self, worker: str, group: int, task_id: str) -> None:
        deaths = self.queues.count_death(task_id)
        if deaths >= self.config.max_attempts:
            text = f"its worker died {deaths} times: given up (max_attempts)"
            self.queues.post(failed_report(task_id, text))
            self.events.emit(f"build {task_id}: failed: {text}", "error", kind="task.failed")
        else:
            self.queues.give_back(worker, group)
            text = f"build {task_id}: worker {worker} died, starting again"
            self.events.emit(text, "warning", kind="task.again")

    def cancel(self) -> None:
        """Carry out cancel requests, and acknowledge them."""
        for task_id in self.frontend.cancel_requests():
            self.backlog.pop(task_id, None)
            for group in self.config.groups:
                self.queues.remove(group.id, task_id)
            running = self._stop(task_id)
            self._tell(task_id)
            self.frontend.canceled(task_id, running)

    def _stop(self, task_id: str) -> bool:
        for worker, held in self.queues.claims().items():
            if held == task_id:
                self.queues.request_cancel(task_id)
                holder = self.queues.holder(worker)
                return bool(holder and holder[0].signal(signal.SIGUSR1))
        return False

    def deliver(self) -> None:
        """Send what is in the outbox, oldest first, until it is empty or the frontend is away."""
        for report in self.queues.outbox():
            beat(self.config.sleeptime + PASS)
            try:
                if not self.queues.sending(report) or self._still_wanted(report):
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
