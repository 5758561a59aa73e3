"""A job grabber for tests: a frontend in memory, a Redis in memory, one pass at a time."""

import os
from pathlib import Path
from typing import Any, ClassVar, cast

import fakeredis

from backend.config import Config, Group
from backend.conveyor import Conveyor
from backend.daemons import job_grab
from backend.daemons.desk import Desk
from backend.daemons.job_grab import JobGrab
from backend.events import Events
from backend.exceptions import FrontendError, FrontendRefused
from backend.fairshare import History
from backend.frontend import Frontend
from backend.processid import ProcessId
from backend.queues import Queues
from tests.unit.test_core_values import pending


class MemoryFrontend:
    """As much of a frontend as the grabber sees."""

    def __init__(self, *task_ids: str) -> None:
        self.unfinished = list(task_ids)
        self.cancels: list[str] = []
        self.updates: list[Any] = []
        self.away = False

    def _here(self) -> None:
        if self.away:
            raise FrontendError("away")

    def pending(self) -> Any:
        self._here()
        return [pending(task) for task in self.unfinished], []

    def cancel_requests(self) -> list[str]:
        self._here()
        return list(self.cancels)

    def chroot_state(self, _task_id: str) -> str:
        return ""

    def canceled(self, task_id: str, was_running: bool) -> None:
        self.cancels.remove(task_id)
        self.updates.append(("canceled", task_id, was_running))

    def update(self, builds: Any) -> None:
        self._here()
        for build in builds:
            self.updates.append(build)
            if build["task_id"] in self.unfinished:
                self.unfinished.remove(build["task_id"])


class FakeConfig:
    builds_max_workers = builds_max_workers_owner = builds_max_workers_sandbox = 0
    builds_max_workers_arch: ClassVar[dict[str, int]] = {}
    builds_max_workers_arch_per_owner: ClassVar[dict[str, int]] = {}
    builds_max_workers_tag: ClassVar[dict[str, int]] = {}
    blocked_owners = ()
    destdir = statedir = Path("/")
    min_free = 0
    embedded = True
    groups = (Group(id=0, name="PC", archs=("x86_64",), max_workers=2),)
    max_attempts = 2
    sleeptime = 3600
    trouble_timeout = 600
    webhook_url = ""


class InlineLane:
    """Asks at once, in the same thread."""

    busy = False

    def ask(self, request: Any, done: Any, failed: Any) -> None:
        try:
            answer = request()
        except (FrontendError, FrontendRefused) as error:
            failed(error)
        else:
            done(answer)


#: On a busy machine a plan may take long, and the next one would wait: no test is about that.
cast(Any, job_grab).LONG_PLAN = float("inf")


class Rig:
    """A grabber, and the messages that it would hear."""

    def __init__(self, frontend: Any, lane: Any = lambda _name: InlineLane()) -> None:
        client = fakeredis.FakeRedis(decode_responses=True)
        self.queues = Queues(client)
        desk = Desk(
            cast(Config, FakeConfig()),
            self.queues,
            Events(client, "jobgrab"),
            Conveyor(history=History(half_life=3600.0, start=0.0)),
            frontend=lambda: cast(Frontend, frontend),
            lane=lane,
        )
        self.messages = self.queues.subscribe()
        self.messages.get_message(timeout=1)
        self.grab = JobGrab(desk)
        self.conveyor = desk.conveyor
        self.desk = desk

    def stop_clock(self) -> None:
        """From now on no time passes, however long the test takes."""
        now = self.desk.tick()
        cast(Any, self.desk).tick = lambda: now

    def hear(self) -> None:
        """All messages that have arrived."""
        while True:
            message = self.messages.get_message(timeout=0)
            if message is None:
                return
            self.grab.heard(str(message["data"]))

    def look(self, fetch: bool) -> None:
        """Messages, then a turn in which everything is due, and what follows from it."""
        self.hear()
        for part in (self.grab.rescue, self.grab.cancels):
            part.soon()
        if fetch:
            self.grab.mirror.soon()
            self.grab.mirror._calm_until = 0.0
        self.grab.deliver._not_before = 0.0
        self.grab.look()
        self.hear()
        self.grab.look()


def grabber(frontend: MemoryFrontend) -> Rig:
    return Rig(frontend)


def alive() -> ProcessId:
    process = ProcessId.of(os.getpid())
    assert process
    return process


class SlowLane:
    """Answers when the test lets it."""

    def __init__(self) -> None:
        self.busy = False
        self._asked: Any = None

    def ask(self, request: Any, done: Any, failed: Any) -> None:
        assert not self.busy
        self.busy, self._asked = True, (request, done, failed)

    def answer(self) -> None:
        request, done, failed = self._asked
        self.busy = False
        InlineLane().ask(request, done, failed)


def slow(frontend: MemoryFrontend) -> tuple[Rig, dict[str, SlowLane]]:
    lanes: dict[str, SlowLane] = {}

    def lane(name: str) -> SlowLane:
        lanes[name] = SlowLane()
        return lanes[name]

    return Rig(frontend, lane), lanes
