"""What a frontend, or a repository, breaks over for one task alone holds up no other."""

import pytest

from backend import rpmtask
from backend.constants import KEPT_KEY, OWED_KEY, TASK_KEY
from backend.exceptions import (
    FrontendBroken,
    FrontendError,
    FrontendRefused,
    FrontendSilent,
    InfrastructureError,
)
from backend.records import Told
from tests.unit.breaking import CHROOT, TOLD, BreakingFrontend, Hand, acknowledged
from tests.unit.grabber import FakeConfig, Rig, alive


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
