"""Reports in batches: each once, whatever the frontend answers."""

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.delivery import BATCH, choose, reduced, send
from backend.exceptions import FrontendBroken, FrontendError, FrontendRefused
from backend.frontend import Frontend
from backend.queues import Report
from tests.unit.test_core_values import pending


def report(task_id: str, **extra: Any) -> Report:
    build = {"id": int(task_id.partition("-")[0]), "task_id": task_id, "status": 1, **extra}
    return Report(json.dumps(build), build)


class Picky:
    """Refuses or breaks over some builds; `cut` connections break after the update."""

    def __init__(self, *reports: Report) -> None:
        self.unfinished = {report.task_id for report in reports}
        self.got: list[str] = []
        self.calls: list[int] = []
        self.refused: set[int] = set()
        self.breaks: set[int] = set()
        self.cut = 0
        self.away = False

    def pending(self) -> Any:
        if self.away:
            raise FrontendError("away")
        return [pending(task) for task in sorted(self.unfinished)], []

    def update(self, builds: Sequence[Any]) -> None:
        if self.away:
            raise FrontendError("away")
        self.calls.append(len(builds))
        assert len({build["id"] for build in builds}) == len(builds), "one object for a build"
        for build in builds:
            if build["id"] in self.refused:
                raise FrontendRefused("no")
            if build["id"] in self.breaks:
                raise FrontendBroken("500")
        for build in builds:
            self.got.append(build["task_id"])
            self.unfinished.discard(build["task_id"])
        if self.cut:
            self.cut -= 1
            raise FrontendError("connection reset")

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
    outcome = send(frontend.client, batch, set())
    assert (outcome.delivered, outcome.error) == ([], "connection reset")
    again = send(frontend.client, [*batch, report("3")], {"1", "2"})
    assert ids(again.delivered) == ["1", "2", "3"]
    assert frontend.got == ["1", "2", "3"]


def test_a_failure_without_results_is_prepared_and_waits_when_that_fails() -> None:
    failed = [report("1", status=0), report("2", status=0, started_on=1.0)]
    prepared: list[str] = []

    def prepare(task_id: str) -> None:
        prepared.append(task_id)
        raise FrontendError("the repository is locked")

    frontend = Picky(*failed)
    outcome = send(frontend.client, failed, set(), prepare)
    assert prepared == ["1"] == ids([r for r, _ in outcome.stuck])
    assert frontend.got == ["2"]


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


def test_only_what_the_frontend_breaks_over_is_to_be_reduced() -> None:
    batch = [report("1"), report("2", status=0)]
    frontend = Picky(*batch)
    frontend.breaks = {1}

    def prepare(_: str) -> None:
        raise FrontendError("no disk")

    outcome = send(frontend.client, batch, set(), prepare)
    assert ids([r for r, _ in outcome.stuck]) == ["2", "1"]
    assert outcome.breaks == {"1"}
