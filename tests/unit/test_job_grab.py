"""One pass of the job grabber at a time, against a frontend in memory."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar, cast

import fakeredis
import pytest

from backend import wake
from backend.config import Config, Group
from backend.constants import DRAIN_KEY, GRABBER_KEY, WAITING_KEY, WAKE_CHANNEL
from backend.conveyor import Conveyor
from backend.daemons import cancels, mirror
from backend.daemons.desk import Desk
from backend.daemons.job_grab import JobGrab, read_history
from backend.events import Events
from backend.exceptions import FrontendError, FrontendRefused
from backend.fairshare import History
from backend.frontend import Frontend
from backend.outbox import Outbox
from backend.processid import ProcessId
from backend.queues import Queues
from backend.records import Told
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


@pytest.fixture(autouse=True)
def no_manners(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that takes long on a busy machine does not put the next one off."""
    monkeypatch.setattr(mirror, "MANNERS", 0.0)


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
    Outbox(grab.queues.client).sending(grab.queues.outbox())
    grab.look(fetch=True)
    assert frontend.updates == []
    assert grab.queues.outbox() == []


def test_a_delivered_task_that_a_forgetful_redis_brings_back_is_not_reported_again() -> None:
    frontend = MemoryFrontend("1")
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    for _ in range(2):
        claim = grab.queues.claim(0, "0-0-1", 1)
        assert claim
        grab.queues.finish(claim, {"id": 1, "task_id": "1", "status": 1})
        grab.look(fetch=True)
        assert [update["status"] for update in frontend.updates] == [1]
        grab.queues.enqueue(0, "1")  # as it was a second ago


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


def test_a_success_from_before_the_cancel_is_delivered_before_it_is_acknowledged() -> None:
    task = "1-debian-12-x86_64"
    frontend = MemoryFrontend(task)
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    grab.queues.finish(claim, {"id": 1, "task_id": task, "status": 1})
    frontend.cancels = [task]
    grab.hear()
    grab.grab.cancels.step(grab.desk.tick())
    assert frontend.updates == []
    grab.look(fetch=True)
    assert frontend.updates == [
        {"id": 1, "task_id": task, "status": 1},
        ("canceled", task, True),
    ]
    assert grab.queues.client.keys("copr-be:cancel") == []


def test_the_report_of_a_canceled_source_build_is_taken_back() -> None:
    frontend = MemoryFrontend("1")
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    grab.queues.finish(claim, {"id": 1, "task_id": "1", "status": 1})
    frontend.unfinished, frontend.cancels = [], ["1"]
    grab.hear()
    grab.grab.cancels.step(grab.desk.tick())
    grab.look(fetch=True)
    assert frontend.updates == [("canceled", "1", False)]
    assert grab.queues.outbox() == []


@pytest.mark.parametrize("accepted", [True, False])
def test_a_success_that_the_frontend_has_taken_stays_published(
    accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdrawn: list[Told] = []
    monkeypatch.setattr(
        "backend.rpmtask.retract_told", lambda _config, told, _manners: withdrawn.append(told)
    )
    task = "1-debian-12-x86_64"
    frontend = MemoryFrontend(task)
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    told = Told(owner="o", dirname="p", chroot_dir="c", result_dir="r", devel=False)
    grab.queues.tell_place(task, told)
    grab.queues.finish(claim, {"id": 1, "task_id": task, "status": 1} if accepted else None)
    grab.look(fetch=True)  # delivers it, and only then hears of the cancel
    frontend.cancels = [task]
    later = grabber(frontend)  # even if the grabber has died meanwhile
    later.desk.queues.client = later.queues.client = grab.queues.client
    for _ in range(2):
        later.grab.cancels.step(later.desk.tick())
        later.grab.withdraw.step(later.desk.tick())
    assert ("canceled", task, False) in frontend.updates
    assert withdrawn == ([] if accepted else [told])


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


@pytest.mark.parametrize("named", [True, False])
def test_a_success_just_before_its_cancel_is_sent_by_a_young_grabber(named: bool) -> None:
    """A canceled task leaves the frontend's list, as if its report had been taken: were it not
    sent, the frontend would call canceled what stays in the repository."""
    task = "1-debian-12-x86_64"
    frontend = MemoryFrontend(task)
    grab = grabber(frontend)
    frontend.away = not named
    grab.queues.register("0-0-1", 0, alive())
    if not named:  # another grabber's doing
        grab.queues.enqueue(0, task)
    grab.look(fetch=True)
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    grab.look(fetch=True)
    grab.queues.finish(claim, {"id": 1, "task_id": task, "status": 1})
    frontend.away, frontend.unfinished, frontend.cancels = False, [], [task]
    for _ in range(3):
        grab.look(fetch=True)
    assert [update["status"] for update in frontend.updates[:1]] == [1]
    assert frontend.updates[1:] == [("canceled", task, True)]


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


def test_what_is_being_reported_is_not_built_again_when_redis_is_emptied() -> None:
    frontend = MemoryFrontend("1")
    rig, lanes = slow(frontend)
    rig.grab.look()
    lanes["mirror"].answer()
    lanes["cancels"].answer()
    rig.grab.look()
    rig.queues.register("0-0-1", 0, alive())
    claim = rig.queues.claim(0, "0-0-1", 1)
    assert claim
    rig.queues.finish(claim, {"id": 1, "task_id": "1", "status": 1})
    rig.look(fetch=True)
    assert lanes["deliver"].busy
    rig.queues.client.flushall()
    for _ in range(2):
        if lanes["mirror"].busy:
            lanes["mirror"].answer()
        rig.look(fetch=True)
    assert rig.queues.queued(0) == []
    lanes["deliver"].answer()
    assert [update["status"] for update in frontend.updates] == [1]
    assert rig.grab.conveyor.sending == set()


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
