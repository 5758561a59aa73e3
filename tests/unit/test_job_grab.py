"""One pass of the job grabber at a time, against a frontend in memory."""

import json
import os
import time
from pathlib import Path

import pytest

from backend import wake
from backend.constants import DRAIN_KEY, GRABBER_KEY, WAITING_KEY, WAKE_CHANNEL
from backend.daemons import mirror
from backend.daemons.job_grab import read_history
from tests.unit.grabber import MemoryFrontend, Rig, alive, grabber, slow


@pytest.fixture(autouse=True)
def no_manners(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that takes long on a busy machine does not put the next one off."""
    monkeypatch.setattr(mirror, "MANNERS", 0.0)


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


@pytest.mark.parametrize("fetch", [True, False])
def test_nothing_to_do_is_no_error(fetch: bool) -> None:
    grabber(MemoryFrontend()).look(fetch)


def test_new_tasks_of_a_message_start_without_a_fetch() -> None:
    frontend = MemoryFrontend()
    rig = Rig(frontend)
    rig.look(fetch=True)
    frontend.away = True
    record = {"task_id": "5", "build_id": 5, "project_owner": "jdoe"}
    rig.queues.client.publish(WAKE_CHANNEL, wake.encode("new", [record]))
    rig.hear()
    rig.grab.look()
    assert rig.queues.queued(0) == ["5"]


def test_a_slow_frontend_is_not_asked_without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "MANNERS", 5.0)
    rig, lanes = slow(MemoryFrontend("1"))
    rig.stop_clock()
    rig.grab.look()
    rig.grab.mirror._began -= 4.0  # as if the answer had taken so long
    lanes["mirror"].answer()
    rig.grab.mirror.soon()
    rig.grab.mirror.soon()
    assert rig.grab.mirror.due - rig.desk.tick() == pytest.approx(20.0)


def test_a_drained_farm_takes_back_what_waits_and_resumes() -> None:
    rig = Rig(MemoryFrontend("1", "2", "3"))
    rig.look(fetch=True)
    rig.queues.register("0-0-1", 0, alive())
    assert rig.queues.claim(0, "0-0-1", 1)
    rig.queues.client.set(DRAIN_KEY, "since noon: new disk")
    rig.queues.wake("drain")
    rig.look(fetch=False)
    assert (rig.queues.queued(0), rig.queues.claims()) == ([], {"0-0-1": "1"})
    rig.grab.notice._not_before = 0.0
    rig.grab.look()
    waiting = rig.queues.client.hgetall(WAITING_KEY)
    assert json.loads(waiting["2"])["reason"] == "the farm is drained: since noon: new disk"
    assert rig.queues.client.hget(GRABBER_KEY, "startable") == "0"
    rig.queues.client.delete(DRAIN_KEY)
    rig.look(fetch=False)
    assert rig.queues.queued(0) == ["2"]


def test_why_tasks_wait_is_written_down_and_wiped_off() -> None:
    frontend = MemoryFrontend("1", "2", "3", "4")
    rig = Rig(frontend)
    rig.look(fetch=True)
    rig.grab.notice._not_before = 0.0
    rig.grab.look()
    waiting = {k: json.loads(v) for k, v in rig.queues.client.hgetall(WAITING_KEY).items()}
    assert {name: (w["position"], w["group"]) for name, w in waiting.items()} == {
        "3": (1, 0),
        "4": (2, 0),
    }
    assert waiting["3"]["reason"] == "all 2 workers of group PC are busy"
    state = rig.queues.client.hgetall(GRABBER_KEY)
    assert (state["backlog"], state["startable"], state["free"]) == ("2", "2", "0")
    assert state["pid"] == str(os.getpid())
    frontend.unfinished, frontend.away = ["1", "2"], False
    rig.look(fetch=True)
    rig.grab.notice._not_before = 0.0
    rig.grab.look()
    assert rig.queues.client.exists(WAITING_KEY) == 0


def test_a_frontend_that_is_away_is_part_of_the_reason() -> None:
    frontend = MemoryFrontend("1", "2", "3")
    rig = Rig(frontend)
    rig.look(fetch=True)
    frontend.away = True
    rig.look(fetch=True)
    rig.grab.notice._not_before = 0.0
    rig.grab.look()
    reason = json.loads(rig.queues.client.hgetall(WAITING_KEY)["3"])["reason"]
    assert reason.startswith("all 2 workers of group PC are busy; the frontend is away since ")
    assert rig.queues.client.hget(GRABBER_KEY, "trouble") == "away"


def test_the_history_outlives_the_grabber(tmp_path: Path) -> None:
    path = tmp_path / "fairshare.json"
    rig = Rig(MemoryFrontend("1"))
    rig.grab._file = path
    rig.look(fetch=True)
    rig.grab.store()
    again = read_history(path, 3600.0, time.time())
    assert again.seconds("jdoe", time.time()) > 1.0
    path.write_text("{")
    assert read_history(path, 3600.0, 0.0).used == {}
    assert [entry.name for entry in tmp_path.iterdir()] == ["fairshare.json"]


def test_what_others_read_is_brought_up_to_date_within_a_second() -> None:
    frontend = MemoryFrontend("1", "2", "3")
    rig, lanes = slow(frontend)
    rig.stop_clock()
    for _ in range(2):
        rig.grab.look()
        for lane in lanes.values():
            if lane.busy:
                lane.answer()
    rig.grab.look()
    assert 0.0 < rig.grab.notice.due - rig.desk.tick() < 2.0
    assert rig.grab.until_due() < 2.0
    rig.grab.notice._not_before = 0.0
    rig.grab.look()
    assert rig.grab.notice.due == float("inf"), "nothing new: no extra turn"
    assert rig.queues.client.hkeys(WAITING_KEY) == ["3"]
