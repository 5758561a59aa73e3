"""What a frontend, or a repository, breaks over for one task alone holds up no other."""

import json
from typing import Any, cast

import pytest

from backend import rpmtask
from backend.constants import EVENTS_KEY, KEPT_KEY, OWED_KEY, TASK_KEY, Status
from backend.daemons.worker import failed_report
from backend.exceptions import (
    FrontendBroken,
    FrontendError,
    FrontendRefused,
    FrontendSilent,
    InfrastructureError,
)
from backend.outbox import Outbox
from backend.records import Told, troubles
from tests.unit.grabber import FakeConfig, MemoryFrontend, Rig, SlowLane, alive

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


def started(rig: Rig, task: str) -> None:
    """A worker took it, told where it lies, and ended it without a report."""
    rig.look(fetch=True)
    rig.queues.register("0-0-1", 0, alive())
    claim = rig.queues.claim(0, "0-0-1", 1)
    assert claim
    assert claim.task_id == task
    rig.queues.tell_place(task, TOLD)
    rig.queues.finish(claim, None)


@pytest.mark.parametrize(
    "error", [FrontendBroken("500"), FrontendSilent("timed out"), FrontendRefused("404")]
)
def test_a_record_that_breaks_the_frontend_holds_up_no_cancel(error: Exception) -> None:
    tasks = [f"{number}-{CHROOT}" for number in (1, 2, 3)]
    frontend = BreakingFrontend()
    frontend.records = {tasks[1]: error, "2": {"package_name": "hello"}}
    frontend.cancels = list(tasks)
    hand = Hand(frontend)
    hand.after(0.0)
    assert acknowledged(frontend) == tasks, "none of them has ever run"
    broken = not isinstance(error, FrontendRefused)
    assert hand.kept() == ([("withdrawal", tasks[1])] if broken else [])
    for _ in range(20):
        hand.after(60.0)
    assert sum("withdrawal kept" in text for text in hand.said) == broken
    assert frontend.asked.count(tasks[1]) <= 14, "less and less often"
    assert hand.rig.queues.owed() == ([tasks[1]] if broken else [])
    frontend.records = {}
    hand.after(300.0)
    assert (hand.kept(), hand.rig.queues.owed()) == ([], [])


def test_a_task_that_waits_for_its_source_package_is_no_trouble() -> None:
    frontend = BreakingFrontend()
    frontend.records = {f"1-{CHROOT}": FrontendBroken("500"), "1": {"package_name": None}}
    frontend.cancels = [f"1-{CHROOT}"]
    hand = Hand(frontend)
    hand.after(0.0)
    assert (acknowledged(frontend), hand.kept()) == ([f"1-{CHROOT}"], [])
    assert hand.rig.queues.client.exists(OWED_KEY) == 0


def test_what_nobody_could_look_for_is_looked_for_by_the_next_grabber() -> None:
    frontend = BreakingFrontend()
    frontend.records = {f"1-{CHROOT}": FrontendBroken("500"), "1": FrontendBroken("500")}
    frontend.cancels = [f"1-{CHROOT}"]
    first = Hand(frontend)
    first.after(0.0)
    later = Hand(frontend)
    later.rig.desk.queues.client = first.rig.queues.client
    frontend.records = {}
    later.after(0.0)
    assert first.rig.queues.owed() == []


def test_a_record_that_never_comes_is_given_up_after_a_day() -> None:
    frontend = BreakingFrontend()
    frontend.records = {f"1-{CHROOT}": FrontendBroken("500"), "1": FrontendBroken("500")}
    frontend.cancels = [f"1-{CHROOT}"]
    hand = Hand(frontend)
    hand.after(0.0)
    hand.after(86000.0)
    assert hand.kept()
    hand.after(500.0)
    assert (hand.kept(), hand.rig.queues.owed()) == ([], [])
    assert "given up" in hand.said[-1]


def test_a_frontend_that_is_away_is_no_trouble_of_a_task() -> None:
    frontend = BreakingFrontend()
    frontend.cancels = [f"{number}-{CHROOT}" for number in range(5)]
    frontend.records = {task: FrontendError("503") for task in frontend.cancels}
    hand = Hand(frontend)
    hand.after(0.0)
    assert len(acknowledged(frontend)) == 5
    assert (hand.kept(), len(hand.rig.queues.owed())) == ([], 5)
    frontend.records = {}
    hand.after(FakeConfig.sleeptime)
    assert hand.rig.queues.owed() == []


def test_where_a_task_ran_is_known_without_the_frontend(monkeypatch: pytest.MonkeyPatch) -> None:
    frontend = BreakingFrontend(f"1-{CHROOT}")
    frontend.records = {f"1-{CHROOT}": FrontendBroken("500")}
    retracted: list[Told] = []
    monkeypatch.setattr(rpmtask, "retract_told", lambda _, told, __: retracted.append(told))
    hand = Hand(frontend)
    started(hand.rig, f"1-{CHROOT}")
    frontend.unfinished, frontend.cancels = [], [f"1-{CHROOT}"]
    hand.after(0.0)
    hand.after(0.0)
    assert (retracted, acknowledged(frontend)) == ([TOLD], [f"1-{CHROOT}"])
    assert frontend.asked == []
    assert hand.rig.queues.client.exists(TASK_KEY.format(task=f"1-{CHROOT}")) == 0


def test_a_repository_that_cannot_be_published_keeps_its_own_cancel_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, other = f"1-{CHROOT}", f"2-{CHROOT}"
    frontend = BreakingFrontend(task)
    full = [True]

    def retract(*_: object) -> None:
        if full:
            raise InfrastructureError("the disk is full")

    monkeypatch.setattr(rpmtask, "retract_told", retract)
    hand = Hand(frontend)
    started(hand.rig, task)
    frontend.unfinished, frontend.cancels = [], [task, other]
    for _ in range(10):
        hand.after(10.0)
    assert acknowledged(frontend) == [other]
    assert hand.kept() == [("withdrawal", task)]
    assert [text for text in hand.said if "kept" in text] == [
        f"build {task}: withdrawal kept, to be tried again: the disk is full"
    ]
    full.clear()
    hand.after(300.0)
    hand.after(0.0)
    assert (acknowledged(frontend), hand.kept()) == ([other, task], [])


@pytest.mark.parametrize("error", [FrontendBroken("500"), FrontendSilent("timed out")])
def test_an_acknowledgement_that_fails_is_repeated_and_the_others_go(error: Exception) -> None:
    tasks = [f"{number}-{CHROOT}" for number in range(5)]
    frontend = BreakingFrontend()
    frontend.acks = {tasks[1]: error}
    frontend.cancels = list(tasks)
    hand = Hand(frontend)
    for _ in range(3):
        hand.after(0.0)
    assert acknowledged(frontend) == [tasks[0], *tasks[2:]]
    for _ in range(10):
        hand.after(60.0)
    assert hand.kept() == [("cancel", tasks[1])]
    assert sum(f"build {tasks[1]}: cancel kept" in text for text in hand.said) == 1
    assert 5 <= frontend.tries.count(tasks[1]) <= 13, "less and less often"
    frontend.acks = {}
    hand.after(300.0)
    assert (sorted(acknowledged(frontend)), hand.kept()) == (tasks, [])


def test_an_acknowledgement_whose_answer_got_lost_leaves_nothing_behind() -> None:
    frontend = BreakingFrontend("1")
    hand = Hand(frontend)
    hand.rig.look(fetch=True)
    hand.rig.queues.register("0-0-1", 0, alive())
    claim = hand.rig.queues.claim(0, "0-0-1", 1)
    assert claim
    frontend.unfinished, frontend.cancels = [], ["1"]
    frontend.acks = {"1": FrontendSilent("the answer got lost")}
    hand.rig.queues.request_cancel("1")
    hand.rig.queues.bury("0-0-1")  # the worker died over it: its records stay
    hand.after(10.0)
    assert hand.kept() == [("cancel", "1")]
    frontend.cancels = []
    hand.after(10.0)
    keys = hand.rig.queues.client.keys("copr-be:*")
    assert not {"copr-be:cancel", "copr-be:attempt:1", KEPT_KEY} & set(keys)


def test_a_task_that_was_put_off_and_is_wanted_no_more_is_forgotten() -> None:
    frontend = BreakingFrontend("1", "2")
    hand = Hand(frontend)
    hand.rig.look(fetch=True)
    hand.rig.queues.register("0-0-1", 0, alive())
    claim = hand.rig.queues.claim(0, "0-0-1", 1)
    assert claim
    hand.rig.queues.put_off(claim)
    hand.rig.hear()
    hand.clock += 1.0
    hand.rig.look(fetch=True)
    assert hand.rig.queues.queued(0) == ["2", "1"], "others first"
    hand.rig.queues.register("0-0-2", 0, alive())
    assert hand.rig.queues.claim(0, "0-0-2", 1)
    claim = hand.rig.queues.claim(0, "0-0-1", 1)
    assert claim
    assert (claim.task_id, claim.attempt) == ("1", 2)
    hand.rig.queues.put_off(claim)
    frontend.unfinished = ["2"]
    hand.clock += 1.0
    hand.rig.look(fetch=True)
    assert hand.rig.queues.put_off_tasks() == set()
    assert hand.rig.queues.client.exists("copr-be:attempt:1") == 0


def test_a_cancel_that_nobody_wants_any_more_is_kept_no_more() -> None:
    frontend = BreakingFrontend()
    frontend.acks = {"1": FrontendBroken("500")}
    frontend.cancels = ["1"]
    hand = Hand(frontend)
    hand.after(0.0)
    assert hand.kept()
    frontend.cancels = []  # its build was deleted
    hand.after(60.0)
    assert hand.rig.queues.client.exists(KEPT_KEY) == 0


def test_silence_over_one_acknowledgement_takes_one_lane_of_several() -> None:
    lanes: dict[str, SlowLane] = {}
    frontend = BreakingFrontend()
    rig = Rig(frontend, lambda name: lanes.setdefault(name, SlowLane()))
    frontend.cancels = ["1", "2", "3", "4", "5"]
    rig.grab.look()
    lanes["cancels"].answer()
    for _ in range(2):
        for name in ("cancel-1", "cancel-2"):
            lanes[name].answer()
    assert acknowledged(frontend) == ["2", "3", "4", "5"]
    assert lanes["cancel-0"].busy


def test_the_failure_of_a_task_that_never_started_does_not_wait_for_its_record() -> None:
    task = f"1-{CHROOT}"
    frontend = BreakingFrontend(task)
    frontend.records = {task: FrontendBroken("500"), "1": FrontendBroken("500")}
    hand = Hand(frontend)
    hand.rig.queues.post(failed_report(task, "its record was unusable for too long"))
    hand.after(0.0)
    assert [update["task_id"] for update in frontend.updates] == [task]


def test_a_failure_is_reported_once_the_build_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    task, other = f"1-{CHROOT}", f"2-{CHROOT}"
    frontend = BreakingFrontend(task, other)
    full = [True]

    def retract(*_: object) -> None:
        if full:
            raise InfrastructureError("the disk is full")

    monkeypatch.setattr(rpmtask, "retract_told", retract)
    hand = Hand(frontend)
    hand.rig.look(fetch=True)
    hand.rig.queues.tell_place(task, TOLD)
    hand.rig.queues.post(failed_report(task, "its worker died 5 times"))
    hand.rig.queues.post(failed_report(other, "it never started"))
    hand.after(1.0)
    assert [update["task_id"] for update in frontend.updates] == [other]
    full.clear()
    hand.after(300.0)
    hand.after(1.0)
    assert [update["task_id"] for update in frontend.updates] == [other, task]


def success(number: int) -> dict[str, Any]:
    task = f"{number}-{CHROOT}"
    return {"id": number, "task_id": task, "status": 1, "started_on": 1.0, "results": {}}


def reported(frontend: BreakingFrontend) -> list[tuple[str, int, bool]]:
    return [(u["task_id"][0], u["status"], "results" in u) for u in frontend.updates]


@pytest.mark.parametrize("error", [FrontendBroken("500"), FrontendSilent("timed out")])
def test_a_broken_report_says_less_only_while_others_are_taken(error: Exception) -> None:
    frontend = BreakingFrontend(*(f"{number}-{CHROOT}" for number in range(1, 6)))
    frontend.reports = {f"1-{CHROOT}": error}
    hand = Hand(frontend)
    hand.rig.queues.post(success(1))
    hand.after(0.0)
    for _ in range(20):  # for all that is known, it takes no report at all
        hand.after(60.0)
    assert reported(frontend) == []
    assert hand.kept() == [("report", f"1-{CHROOT}")]
    assert sum("kept" in text for text in hand.said) == 1
    hand.rig.queues.post(success(2))
    hand.after(0.0)
    assert reported(frontend) == [("2", Status.SUCCEEDED, True)], "a stuck one delays no other"
    hand.after(60.0)
    frontend.reports = {}
    hand.after(60.0)
    assert reported(frontend)[1:] == [("1", Status.SUCCEEDED, False)]
    assert hand.kept() == []


def test_reports_that_failed_while_the_frontend_was_ill_follow_as_they_are() -> None:
    tasks = [f"{number}-{CHROOT}" for number in range(1, 6)]
    frontend = BreakingFrontend(*tasks)
    frontend.reports = dict.fromkeys(tasks, FrontendBroken("500"))
    hand = Hand(frontend)
    for number in range(1, 6):
        hand.rig.queues.post(success(number))
    for _ in range(200):  # far longer than a task may be in trouble
        hand.after(60.0)
    frontend.reports = {}
    for _ in range(3):
        hand.after(60.0)
    assert sorted(reported(frontend)) == [(str(n), Status.SUCCEEDED, True) for n in range(1, 6)]
    assert hand.rig.queues.outbox() == []


def test_a_successor_lets_the_request_of_a_killed_grabber_arrive() -> None:
    task = f"1-{CHROOT}"
    frontend = BreakingFrontend(task)
    hand = Hand(frontend)
    hand.rig.queues.post(success(1))
    Outbox(hand.rig.queues.client).sending(hand.rig.queues.outbox())
    hand.after(0.0)
    frontend.unfinished = []  # only now it arrives
    hand.after(2.0)
    assert (frontend.updates, hand.rig.queues.outbox()) == ([], [])
