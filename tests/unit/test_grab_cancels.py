"""The job grabber cancels tasks: one pass at a time, against a frontend in memory."""

import signal
from typing import Any

import pytest

from backend.daemons import cancels, mirror
from backend.processid import ProcessId
from tests.unit.grabber import MemoryFrontend, alive, grabber, slow


@pytest.fixture(autouse=True)
def no_manners(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that takes long on a busy machine does not put the next one off."""
    monkeypatch.setattr(mirror, "MANNERS", 0.0)


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
    monkeypatch.setattr(cancels, "DEAF", -1.0)
    grab.look(fetch=False)
    assert signals[1:] == [signal.SIGKILL]
    grab.queues.finish(claim, None)
    grab.look(fetch=False)
    assert frontend.updates == [("canceled", "1", True)]
    assert grab.queues.client.keys("copr-be:attempt:*") == []


def test_a_cancel_does_not_wait_for_other_slow_answers() -> None:
    frontend = MemoryFrontend("1", "2", "3")
    rig, lanes = slow(frontend)
    rig.grab.look()
    lanes["mirror"].answer()
    lanes["cancels"].answer()
    rig.queues.post({"id": 9, "task_id": "9", "status": 1})
    rig.look(fetch=True)
    assert rig.queues.queued(0) == ["1", "2"]
    assert lanes["mirror"].busy
    assert lanes["deliver"].busy
    lanes["cancels"].answer()
    frontend.cancels = ["2", "3"]
    rig.queues.wake("cancel")
    rig.hear()
    rig.grab.look()
    lanes["cancels"].answer()
    rig.grab.look()
    assert rig.queues.queued(0) == ["1"]
    assert len(rig.conveyor.backlog) == 0
    lanes["cancel-0"].answer()
    lanes["cancel-1"].answer()
    assert [update[1] for update in frontend.updates] == ["2", "3"]
    lanes["mirror"].answer()  # its list is from before: 2 and 3 are not started again
    rig.grab.look()
    assert rig.queues.queued(0) == ["1"]
