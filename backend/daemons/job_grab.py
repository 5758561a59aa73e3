"""The job grabber: mirrors the frontend's unfinished work and decides what runs next.

Crash-only: it keeps nothing that it cannot read again from the frontend and from Redis. One
thread decides; others only wait for the frontend's answers (`lanes`).
"""

import json
import os
import time
from pathlib import Path

import redis

from backend import scheduler, wake
from backend.config import Config
from backend.constants import KEPT_KEY
from backend.conveyor import Conveyor
from backend.daemons import child
from backend.daemons.board import beat
from backend.daemons.cancels import Cancels
from backend.daemons.deliver import Deliver
from backend.daemons.desk import Asking, Desk
from backend.daemons.diskguard import DiskGuard
from backend.daemons.lanes import Inbox, Lane, listen
from backend.daemons.mirror import Mirror
from backend.daemons.notice import Notice
from backend.daemons.rescue import Rescue
from backend.daemons.withdraw import Withdraw
from backend.events import Events
from backend.fairshare import History
from backend.frontend import Frontend
from backend.limits import Limits
from backend.line import Line
from backend.queues import Queues
from backend.redis_server import connect

#: Longest time that one turn may take, in seconds.
TURN = 120.0
#: A plan that takes longer than this (seconds) is followed by a rest of three times as long.
LONG_PLAN = 0.02
#: The history is stored so often, in seconds.
STORE_EVERY = 60.0


class JobGrab:
    """`look` is one turn: everything that is due, without waiting for anybody."""

    def __init__(self, desk: Desk, history_file: Path | None = None) -> None:
        self.desk = desk
        self.conveyor: Conveyor = desk.conveyor
        self.rescue = Rescue(desk)
        self.mirror = Mirror(desk)
        desk.queues.client.delete(KEPT_KEY)  # what still fails is found again
        self.withdraw = Withdraw(desk)
        self.cancels = Cancels(desk, self.withdraw)
        self.deliver = Deliver(desk, self.withdraw, self.cancels.ended)
        self.withdraw.then = [self.cancels.ended, self.deliver.withdrawn]
        self.notice = Notice(desk)
        self.guard = DiskGuard(desk)
        self._limits = Limits.of(desk.config)
        self._file = history_file
        self._store_at = desk.tick() + STORE_EVERY
        self._plan_at = 0.0

    # --- messages -------------------------------------------------------------------------

    def heard(self, text: str) -> None:
        """A wake message has arrived."""
        desk, news = self.desk, wake.decode(text, self.desk.now())
        if news.tasks:
            self.conveyor.offer(news.tasks, desk.tick())
        if news.ended and news.why != "mark":
            reported = news.why == "outbox"
            self.conveyor.ended(news.ended, desk.now(), desk.tick(), reported=reported)
            self.cancels.ended(news.ended)
        if news.why in ("dead", "drain"):
            self.rescue.soon()
        if news.why == "cancel":
            self.cancels.soon()
        lost = news.why == "mark" and self.rescue.marked(news.ended)
        if news.fetch or lost:
            self.mirror.soon()

    # --- one turn -------------------------------------------------------------------------

    def look(self) -> None:
        """Do what is due."""
        tick = self.desk.tick()
        self.rescue.step(tick)
        self.cancels.step(tick)
        self.guard.step(tick)
        self.fill(tick)
        self.deliver.step(tick)
        self.withdraw.step(tick)
        self.mirror.step(tick)
        self.show(tick)
        self.conveyor.forget(tick, self.mirror.asked)
        if tick >= self._store_at:
            self.store()

    def until_due(self) -> float:
        """Seconds until the next turn must be."""
        tick = self.desk.tick()
        work = (
            *(self.rescue, self.cancels, self.deliver, self.withdraw, self.mirror),
            *(self.notice, self.guard),
        )
        plan = self._plan_at if self._plan_at > tick else float("inf")
        return max(0.0, min(plan, *(part.due for part in work)) - tick)

    def slots(self) -> dict[int, scheduler.Slots]:
        """The groups, with what is free in each."""
        groups = {group.id: group for group in self.desk.config.groups}
        free = self.conveyor.free({number: g.max_workers for number, g in groups.items()})
        return {
            number: scheduler.Slots(
                archs=group.archs, free=free[number], size=group.max_workers, name=group.name
            )
            for number, group in groups.items()
        }

    def use(self) -> scheduler.Use:
        """Who used how much."""
        history = self.conveyor.history
        weight = history.weight(self.desk.now())
        return scheduler.Use(
            used=history.used, cost=lambda task: weight * history.expected(task.kind)
        )

    def fill(self, tick: float) -> None:
        """Enqueue what idle workers can take at once; nothing while the farm is drained
        or a disk is nearly full."""
        if self.desk.halted:
            self._take_back(tick)
            return
        slots = self.slots()
        if not self.conveyor.backlog or tick < self._plan_at:
            return
        if not any(group.free for group in slots.values()):
            return
        made = scheduler.plan(
            self.conveyor.backlog,
            slots,
            limits=self._limits,
            running=self.conveyor.counts,
            use=self.use(),
        )
        if made.start:
            self.desk.queues.enqueue_all((task.task_id, group) for task, group in made.start)
            now = self.notice.started = self.desk.now()
            for task, group in made.start:
                self.conveyor.start(task, group, now, tick)
        took = self.desk.tick() - tick
        self._plan_at = tick + 4 * took if took > LONG_PLAN else 0.0

    def _take_back(self, tick: float) -> None:
        for group in self.desk.config.groups:
            if not self.conveyor.taken[group.id]:
                continue
            for task_id in self.desk.queues.take_all(group.id):
                if not self.conveyor.taken_back(task_id, self.desk.now(), tick):
                    self.mirror.soon()

    def show(self, tick: float) -> None:
        """Tell others, now and then."""
        if not self.notice.may(tick):
            return
        rules = scheduler.Rules(
            self.slots(), self._limits, self.conveyor.counts.copy(), self.desk.halted
        )
        mirror = self.mirror
        self.notice.write(
            rules, self.use(), fetched=mirror.fetched, trouble=mirror.trouble, away=mirror.away()
        )

    # --- history --------------------------------------------------------------------------

    def store(self) -> None:
        """Write the history; losing it is harmless."""
        self._store_at = self.desk.tick() + STORE_EVERY
        if self._file is None:
            return
        text = json.dumps(self.conveyor.history.to_json(self.desk.now()))
        temporary = self._file.with_name(self._file.name + ".new")
        try:
            temporary.write_text(text, "utf-8")
            temporary.replace(self._file)
        except OSError as error:
            self.desk.events.emit(f"cannot store {self._file}: {error.strerror}", "warning")


def read_history(path: Path, half_life: float, now: float) -> History:
    """The stored history; an empty one if there is none that can be read."""
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raw = None
    return History.from_json(raw, half_life, now)


def run(grab: JobGrab, inbox: Inbox, longest: float) -> None:
    """Turn after turn: at each message and answer, and when something is due."""
    # Listening before the first look: nothing that happens from then on is missed.
    listen(grab.desk.queues.subscribe(), inbox, grab.heard)
    grab.desk.queues.note_death(f"jobgrab-{os.getpid()}", time.time())
    while True:
        beat(longest + TURN)
        grab.look()
        inbox.handle(min(longest, grab.until_due()))


def main(config: Config, password: str, parent: int) -> None:
    """Entry point of the forked job grabber."""
    child.become("jobgrab", parent)
    client = connect(config, timeout=30.0, kind=Line)
    events = Events(client, "jobgrab")
    inbox = Inbox()
    store = config.statedir / "fairshare.json"
    queues = Queues(client)

    def lane(name: str) -> Asking:
        return Lane(name, inbox)

    def work() -> None:
        try:
            desk = Desk(
                config,
                queues,
                events,
                Conveyor(history=read_history(store, config.fair_share_half_life, time.time())),
                frontend=lambda: Frontend(config.frontend_url, password),
                lane=lane,
            )
            run(JobGrab(desk, store), inbox, config.sleeptime)
        except redis.RedisError as error:
            events.emit(f"Redis is away: {error}", "error")

    child.main(work, lambda text: events.emit(text, "error"))
