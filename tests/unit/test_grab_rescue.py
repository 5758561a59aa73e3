"""The job grabber puts right what deaths and lost data have left."""

import time

import pytest

from backend.daemons import mirror
from backend.processid import ProcessId
from tests.unit.grabber import FakeConfig, MemoryFrontend, Rig, alive, grabber


@pytest.fixture(autouse=True)
def no_manners(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that takes long on a busy machine does not put the next one off."""
    monkeypatch.setattr(mirror, "MANNERS", 0.0)


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


def test_tasks_that_vanished_at_the_frontend_leave_the_queue() -> None:
    frontend = MemoryFrontend("1", "2")
    grab = grabber(frontend)
    grab.look(fetch=True)
    frontend.unfinished = ["2"]
    grab.look(fetch=True)
    assert grab.queues.queued(0) == ["2"]


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
        grab.look(fetch=True)
    assert not grab.queues.current(claim)


def test_claims_of_nobody_come_back_by_the_frontends_list() -> None:
    grab = grabber(MemoryFrontend("1"))
    grab.queues.enqueue(0, "1")
    assert grab.queues.claim(0, "stranger", 1)
    for _ in range(2):
        grab.look(fetch=True)
    assert grab.queues.queued(0) == ["1"]
    assert grab.queues.claims() == {}


def test_a_task_that_vanished_from_redis_is_asked_for_and_started_again() -> None:
    rig = Rig(MemoryFrontend("1"))
    rig.look(fetch=True)
    rig.queues.clean(0)  # as a Redis that forgot its last second
    rig.look(fetch=False)
    rig.hear()
    rig.grab.mirror._calm_until = 0.0
    rig.grab.look()
    rig.grab.look()
    assert rig.queues.queued(0) == ["1"]
