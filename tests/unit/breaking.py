"""A frontend that breaks over single tasks, and lanes that wait for it by hand."""

import json
from typing import Any, cast

from backend.constants import EVENTS_KEY
from backend.records import Told, troubles
from tests.unit.grabber import MemoryFrontend, Rig

CHROOT = "debian-12-x86_64"
TOLD = Told(owner="o", dirname="p", chroot_dir=CHROOT, result_dir="r", devel=False)


class BreakingFrontend(MemoryFrontend):
    """Answers as it is told to: a task's record, its acknowledgement, a report of it."""

    def __init__(self, *task_ids: str) -> None:
        super().__init__(*task_ids)
        self.records: dict[str, Any] = {}
        self.acks: dict[str, Exception] = {}
        self.reports: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.tries: list[str] = []

    def task(self, task_id: str) -> Any:
        self.asked.append(task_id)
        answer = self.records.get(task_id)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def canceled(self, task_id: str, was_running: bool) -> None:
        self.tries.append(task_id)
        if task_id in self.acks:
            raise self.acks[task_id]
        super().canceled(task_id, was_running)

    def update(self, builds: Any) -> None:
        for build in builds:
            if build["task_id"] in self.reports:
                raise self.reports[build["task_id"]]
        super().update(builds)


class Hand:
    """A rig whose clock the test moves."""

    def __init__(self, frontend: BreakingFrontend) -> None:
        self.rig = Rig(frontend)
        self.clock = 1000.0
        cast(Any, self.rig.desk).tick = lambda: self.clock

    def after(self, seconds: float) -> None:
        """So much later, everything that is due is done."""
        self.clock += seconds
        self.rig.look(fetch=False)

    @property
    def said(self) -> list[str]:
        entries: Any = self.rig.queues.client.xrange(EVENTS_KEY)
        return [json.loads(fields["event"])["what"] for _, fields in entries]

    def kept(self) -> list[tuple[str, str]]:
        return [(trouble.what, trouble.task) for trouble in troubles(self.rig.queues.client)]


def acknowledged(frontend: BreakingFrontend) -> list[str]:
    return [update[1] for update in frontend.updates if update[0] == "canceled"]
