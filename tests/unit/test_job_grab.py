"""One pass of the job grabber at a time, against a frontend in memory."""

import os
import signal
import time
from typing import Any, cast

import fakeredis
import pytest

from backend.config import Config, Group
from backend.daemons import job_grab
from backend.daemons.job_grab import JobGrab
from backend.events import Events
from backend.exceptions import FrontendError
from backend.frontend import Frontend
from backend.process import ProcessId
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
    groups = (Group(id=0, name="PC", archs=("x86_64",), max_workers=2),)
    max_attempts = 2
    sleeptime = 1
    webhook_url = ""


def grabber(frontend: MemoryFrontend) -> JobGrab:
    client = fakeredis.FakeRedis(decode_responses=True)
    return JobGrab(
        cast(Config, FakeConfig()),
        cast(Frontend, frontend),
        Queues(client),
        Events(client, "jobgrab"),
    )


def alive() -> ProcessId:
    process = ProcessId.of(os.getpid())
    assert process
    return process


def test_the_queue_holds_what_idle_workers_can_take() -> None:
    grab = grabber(MemoryFrontend("1", "2", "3"))
    grab.look(fetch=True)
    assert grab.queues.queued(0) == ["1", "2"]
    grab.look(fetch=True)
    assert grab.queues.queued(0) == ["1", "2"]
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    grab.look(fetch=True)
    assert grab.queues.queued(0) == ["2"]
    grab.queues.finish(claim, {"id": 1, "task_id": "1", "status": 1})
    grab.look(fetch=True)
    assert grab.queues.queued(0) == ["2", "3"]


def test_a_dead_workers_task_is_next_again_and_failed_when_it_kills_too_many() -> None:
    frontend = MemoryFrontend("1", "2")
    grab = grabber(frontend)
    for _ in range(FakeConfig.max_attempts):
        grab.look(fetch=True)
        assert "1" in grab.queues.queued(0)
        grab.queues.register("0-0-1", 0, ProcessId(2**22 + 1, 1))
        claim = grab.queues.claim(0, "0-0-1", 1)
        assert claim
        assert claim.task_id == "1"
    grab.look(fetch=True)
    assert [(u["task_id"], u["status"]) for u in frontend.updates] == [("1", 0)]
    assert "died 2 times" in frontend.updates[0]["failure"]
    assert frontend.unfinished == ["2"]


def test_reports_wait_for_the_frontend_and_are_delivered_once() -> None:
    frontend = MemoryFrontend("1")
    grab = grabber(frontend)
    grab.queues.post({"id": 1, "task_id": "1", "status": 1})
    frontend.away = True
    grab.look(fetch=True)
    grab.look(fetch=True)
    assert frontend.updates == []
    frontend.away = False
    grab.look(fetch=True)
    grab.look(fetch=True)
    assert [update["status"] for update in frontend.updates] == [1]


def test_a_report_with_unknown_outcome_is_not_sent_twice() -> None:
    frontend = MemoryFrontend()  # it took the report, and we died before we knew
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.post({"id": 1, "task_id": "1", "status": 1})
    grab.queues.sending(grab.queues.outbox()[0])
    grab.look(fetch=True)
    assert frontend.updates == []
    assert grab.queues.outbox() == []


def test_canceled_tasks_leave_the_queue_and_are_acknowledged() -> None:
    frontend = MemoryFrontend("1", "2", "3")
    grab = grabber(frontend)
    grab.look(fetch=True)
    frontend.unfinished.remove("1")
    frontend.cancels = ["1", "3"]
    grab.look(fetch=True)
    assert "1" not in grab.queues.queued(0)
    assert frontend.updates == [("canceled", "1", False), ("canceled", "3", False)]


def test_a_running_task_is_acknowledged_when_its_worker_has_ended_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frontend = MemoryFrontend("1")
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    signals: list[Any] = []

    def noted(_self: ProcessId, number: signal.Signals) -> bool:
        signals.append(number)
        return True

    monkeypatch.setattr(ProcessId, "signal", noted)
    frontend.unfinished, frontend.cancels = [], ["1"]
    grab.look(fetch=True)
    assert (signals, frontend.updates) == ([signal.SIGUSR1], [])
    monkeypatch.setattr(job_grab, "DEAF", -1.0)
    grab.look(fetch=False)
    assert signals[1:] == [signal.SIGKILL]
    grab.queues.finish(claim, None)
    grab.look(fetch=False)
    assert frontend.updates == [("canceled", "1", True)]
    assert grab.queues.client.keys("copr-be:attempt:*") == []


def test_a_success_from_before_the_cancel_is_delivered_before_it_is_acknowledged() -> None:
    frontend = MemoryFrontend("1")
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    grab.queues.finish(claim, {"id": 1, "task_id": "1", "status": 1})
    frontend.cancels = ["1"]
    grab.cancel()
    assert frontend.updates == []
    grab.look(fetch=True)
    assert frontend.updates == [
        {"id": 1, "task_id": "1", "status": 1},
        ("canceled", "1", True),
    ]
    assert grab.queues.client.keys("copr-be:cancel") == []


def test_where_everybody_dies_a_task_is_tried_on() -> None:
    frontend = MemoryFrontend("1")
    grab = grabber(frontend)
    grab.queues.note_death("8", time.time())
    grab.queues.note_death("9", time.time())
    for _ in range(3 * FakeConfig.max_attempts):
        grab.look(fetch=True)
        assert grab.queues.queued(0) == ["1"]
        grab.queues.register("0-0-1", 0, ProcessId(2**22 + 1, 1))
        assert grab.queues.claim(0, "0-0-1", 1)
    assert frontend.updates == []


def test_what_a_dead_grabber_left_in_the_outbox_may_have_been_delivered() -> None:
    frontend = MemoryFrontend()  # it knows the end of task 1 already
    grab = grabber(frontend)
    grab.queues.post({"id": 1, "task_id": "1", "status": 1})
    grab.look(fetch=True)
    assert (frontend.updates, grab.queues.outbox()) == ([], [])


def test_tasks_that_vanished_at_the_frontend_leave_the_queue() -> None:
    frontend = MemoryFrontend("1", "2")
    grab = grabber(frontend)
    grab.look(fetch=True)
    frontend.unfinished = ["2"]
    grab.look(fetch=True)
    assert grab.queues.queued(0) == ["2"]


@pytest.mark.parametrize("fetch", [True, False])
def test_nothing_to_do_is_no_error(fetch: bool) -> None:
    grabber(MemoryFrontend()).look(fetch)


def test_a_task_in_two_places_is_put_right_at_the_second_look() -> None:
    grab = grabber(MemoryFrontend("1", "2"))
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    grab.queues.enqueue(0, "1")  # somebody's mistake: a worker has it
    grab.queues.enqueue(0, "2")
    grab.look(fetch=True)
    assert grab.queues.queued(0) == ["2", "1", "2"], "once may be a task on the move"
    grab.look(fetch=True)
    assert grab.queues.queued(0) == ["2"]
    assert grab.queues.current(claim)


def test_a_worker_that_builds_what_is_reported_is_stopped() -> None:
    frontend = MemoryFrontend("1")
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    grab.queues.post({"id": 1, "task_id": "1", "status": 1})
    for _ in range(2):
        grab.refresh()
    assert not grab.queues.current(claim)


def test_claims_of_nobody_come_back_by_the_frontends_list() -> None:
    grab = grabber(MemoryFrontend("1"))
    grab.queues.enqueue(0, "1")
    assert grab.queues.claim(0, "stranger", 1)
    for _ in range(2):
        grab.look(fetch=True)
    assert grab.queues.queued(0) == ["1"]
    assert grab.queues.claims() == {}
