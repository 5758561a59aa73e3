"""Reports and acknowledgements that a frontend breaks over hold up no others."""

from typing import Any

import pytest

from backend import rpmtask
from backend.constants import KEPT_KEY, Status
from backend.daemons.worker import failed_report
from backend.exceptions import (
    FrontendBroken,
    FrontendSilent,
    InfrastructureError,
)
from backend.outbox import Outbox
from tests.unit.breaking import CHROOT, TOLD, BreakingFrontend, Hand, acknowledged
from tests.unit.grabber import Rig, SlowLane, alive


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
