"""Reports in batches: each once, whatever the frontend answers."""

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.delivery import BATCH, choose, patience, reduced, send
from backend.exceptions import FrontendBroken, FrontendRefused, FrontendSilent
from backend.frontend import Frontend
from backend.queues import Report
from tests.unit.test_core_values import pending


def report(task_id: str, **extra: Any) -> Report:
    build = {"id": int(task_id.partition("-")[0]), "task_id": task_id, "status": 1, **extra}
    return Report(json.dumps(build), build)


class Picky:
    """Refuses, breaks or is silent over some builds; `cut` connections break after the update,
    `blind` questions for the list fail."""

    def __init__(self, *reports: Report) -> None:
        self.unfinished = {report.task_id for report in reports}
        self.got: list[str] = []
        self.calls: list[int] = []
        self.refused: set[int] = set()
        self.breaks: set[int] = set()
        self.silent: set[int] = set()
        self.cut = 0
        self.blind = 0
        self.away = False
        self.canceled: list[str] = []
        #: What API v3 says of a chroot; missing: it does not know.
        self.states: dict[str, str] = {}

    def cancel_requests(self) -> list[str]:
        return self.canceled

    def chroot_state(self, task_id: str) -> str:
        return self.states.get(task_id, "")

    def pending(self) -> Any:
        if self.away or self.blind:
            self.blind -= not self.away
            raise FrontendSilent("away")
        return [pending(task) for task in sorted(self.unfinished)], []

    def update(self, builds: Sequence[Any]) -> None:
        if self.away:
            raise FrontendSilent("away")
        self.calls.append(len(builds))
        assert len({build["id"] for build in builds}) == len(builds), "one object for a build"
        for build in builds:
            if build["id"] in self.refused:
                raise FrontendRefused("no")
            if build["id"] in self.breaks:
                raise FrontendBroken("500")
            if build["id"] in self.silent:
                raise FrontendSilent("timed out")
        for build in builds:
            self.got.append(build["task_id"])
            self.unfinished.discard(build["task_id"])
        if self.cut:
            self.cut -= 1
            raise FrontendSilent("connection reset")

    @property
    def client(self) -> Frontend:
        return cast(Frontend, self)


def ids(reports: Sequence[Any]) -> list[str]:
    return [str(r.task_id) for r in reports]


def test_many_builds_travel_in_one_request() -> None:
    batch = [report(str(number)) for number in range(1, 6)]
    frontend = Picky(*batch)
    outcome = send(frontend.client, batch, set())
    assert outcome.delivered == batch
    assert frontend.calls == [5]


def test_chroots_of_one_build_go_one_after_the_other_and_the_batch_is_bounded() -> None:
    chroots = [report(f"1-fedora-4{n}-x86_64") for n in range(3)]
    others = [report(str(number)) for number in range(2, 300)]
    batch = choose([*chroots, *others])
    assert ids(batch)[:2] == ["1-fedora-40-x86_64", "2"]
    assert len(batch) == BATCH
    assert ids(choose(chroots, without={"1-fedora-40-x86_64"})) == ["1-fedora-41-x86_64"]


def test_a_refused_batch_is_sent_one_by_one() -> None:
    batch = [report(str(number)) for number in range(1, 5)]
    frontend = Picky(*batch)
    frontend.refused, frontend.breaks = {2}, {3}
    outcome = send(frontend.client, batch, set())
    assert ids(outcome.delivered) == ["1", "4"] == frontend.got
    assert [(r.task_id, text) for r, text in outcome.refused] == [("2", "no")]
    assert [(r.task_id, text) for r, text in outcome.stuck] == [("3", "500")]
    assert outcome.error == ""


def test_a_frontend_that_is_away_keeps_everything() -> None:
    batch = [report("1"), report("2")]
    frontend = Picky(*batch)
    frontend.away = True
    outcome = send(frontend.client, batch, set())
    assert (outcome.delivered, outcome.refused, outcome.stuck) == ([], [], [])
    assert outcome.error == "away"


def test_what_may_have_been_sent_is_asked_for_first() -> None:
    batch = [report("1"), report("2")]
    frontend = Picky(*batch)
    frontend.cut = 1
    frontend.blind = 1
    outcome = send(frontend.client, batch, set())
    assert (outcome.delivered, outcome.error) == ([], "away")
    again = send(frontend.client, [*batch, report("3")], {"1", "2"})
    assert ids(again.delivered) == ["1", "2", "3"]
    assert frontend.got == ["1", "2", "3"]


def test_silence_over_one_report_holds_up_no_other() -> None:
    batch = [report(str(number)) for number in range(1, 5)]
    frontend = Picky(*batch)
    frontend.silent = {2}
    outcome = send(frontend.client, batch, set())
    assert ids(outcome.delivered) == ["1", "3", "4"] == frontend.got
    assert [(r.task_id, text) for r, text in outcome.stuck] == [("2", "timed out")]
    assert (outcome.error, outcome.works) == ("", True)


def test_silence_over_several_reports_ends_the_batch() -> None:
    batch = [report(str(number)) for number in range(1, 5)]
    frontend = Picky(*batch)
    frontend.silent = {1, 2, 3}
    outcome = send(frontend.client, batch, set())
    assert ids([r for r, _ in outcome.stuck]) == ["1", "2"]
    assert (frontend.calls, outcome.error) == ([4, 1, 1], "timed out")
    frontend.away = True  # nobody is to blame for that
    assert send(frontend.client, batch, set()).stuck == []


def test_an_answer_that_got_lost_is_no_failure() -> None:
    frontend = Picky(report("1"))
    frontend.cut = 1
    outcome = send(frontend.client, [report("1")], set())
    assert (ids(outcome.delivered), outcome.stuck, outcome.works) == (["1"], [], False)


@given(
    st.sets(st.integers(1, 8)),
    st.sets(st.integers(1, 8)),
    st.integers(0, 3),
    st.integers(1, 5),
)
def test_nothing_is_delivered_twice_or_lost(
    refused: set[int], breaks: set[int], cut: int, size: int
) -> None:
    waiting = [report(str(number)) for number in range(1, 9)]
    frontend = Picky(*waiting)
    frontend.refused, frontend.breaks, frontend.cut = refused, breaks - refused, cut
    doubtful: set[str] = set()
    for turn in range(40):
        if turn == 20:
            frontend.breaks = set()
        batch = choose(waiting)[:size]
        if not batch:
            break
        outcome = send(frontend.client, batch, doubtful & set(ids(batch)))
        doubtful |= set(ids(batch))
        done = [*outcome.delivered, *(r for r, _ in outcome.refused)]
        waiting = [r for r in waiting if r not in done]
        for stuck, _ in outcome.stuck:
            waiting = [*(r for r in waiting if r != stuck), stuck]
    assert waiting == []
    assert sorted(frontend.got) == sorted(str(n) for n in range(1, 9) if n not in refused)


@pytest.mark.parametrize(
    ("state", "doubtful", "sent"),
    [
        ("running", True, True),
        ("running", False, True),
        ("succeeded", True, False),
        ("succeeded", False, False),
        ("", True, False),
        ("", False, True),
    ],
)
def test_a_canceled_task_is_missing_from_the_list_without_having_ended(
    state: str, doubtful: bool, sent: bool
) -> None:
    one = report("1-debian-12-x86_64")
    frontend = Picky()
    frontend.canceled, frontend.states = [one.task_id], {one.task_id: state}
    groups = ({one.task_id}, set[str]()) if doubtful else (set[str](), {one.task_id})
    outcome = send(frontend.client, [one], *groups)
    assert (frontend.got, outcome.delivered) == ([one.task_id] if sent else [], [one])


def test_a_cancel_during_a_silence_over_its_report_is_no_success() -> None:
    one = report("1-debian-12-x86_64")
    frontend = Picky()
    frontend.silent = {1}
    frontend.canceled, frontend.states = [one.task_id], {one.task_id: "running"}
    outcome = send(frontend.client, [one], set())
    assert (outcome.delivered, ids([r for r, _ in outcome.stuck])) == ([], [one.task_id])


def test_anything_else_is_an_error_of_ours() -> None:
    class Silly(Picky):
        def update(self, builds: Sequence[Any]) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send(Silly(report("1")).client, [report("1")], set())


def test_a_report_that_breaks_the_frontend_says_less_and_less() -> None:
    whole = report("1", results={"packages": []}, built_packages="x 1", result_dir="00000001").build
    less = reduced(whole, "500")
    assert less == {"id": 1, "task_id": "1", "status": 1, "result_dir": "00000001"}
    failed = reduced(less, "500")
    assert failed
    assert (failed["status"], failed["result_dir"]) == (0, "00000001")
    assert "500" in failed["failure"]
    assert reduced(failed, "500") is None
    assert [patience(build, 60.0) for build in (whole, less, failed)] == [30.0, 60.0, 120.0]
