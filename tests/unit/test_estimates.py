"""Position and probable start of what waits."""

import json
from typing import Any

from backend.backlog import Backlog
from backend.estimates import Busy, Waiting, forecast
from backend.limits import Counts, Limits
from backend.pending import PendingTask
from backend.scheduler import EQUAL, Slots, plan
from tests.unit.test_core_values import pending

NOW = 1000.0


def rpm(number: int, owner: str = "jdoe", arch: str = "x86_64") -> PendingTask:
    return pending(f"{number}-fedora-41-{arch}", project_owner=owner)


def look(
    tasks: list[PendingTask],
    busy: list[Busy],
    durations: dict[str, float],
    limit: int = 100,
    **more: Any,
) -> dict[int, Waiting]:
    groups = {
        0: Slots(archs=("x86_64",), free=0, size=2, name="PC"),
        1: Slots(archs=("aarch64",), free=0, size=1, name="ARM"),
    }
    made = plan(Backlog(tasks), groups, **more)
    found = forecast(
        Backlog(tasks),
        made.rules,
        EQUAL,
        running=busy,
        durations=durations,
        now=NOW,
        limit=limit,
    )
    return {int(name.partition("-")[0]): waiting for name, waiting in found.items()}


BUSY = [
    Busy(group=0, kind="x86_64", since=900.0),
    Busy(group=0, kind="x86_64", since=950.0),
]


def test_each_slot_is_taken_when_it_gets_free() -> None:
    found = look([rpm(1), rpm(2), rpm(3)], BUSY, {"x86_64": 120.0})
    assert [(w.position, w.eta, w.group) for w in found.values()] == [
        (1, 1020, 0),
        (2, 1070, 0),
        (3, 1140, 0),
    ]
    assert found[1].reason == "all 2 workers of group PC are busy"


def test_one_that_runs_late_is_not_expected_at_once() -> None:
    found = look([rpm(1)], [Busy(group=0, kind="x86_64", since=0.0)], {"x86_64": 120.0})
    assert found[1].eta == 1880  # as long again as it is late


def test_nothing_is_guessed() -> None:
    assert look([rpm(1)], BUSY, {})[1].eta is None
    slow = [*BUSY[:1], Busy(group=0, kind="i686", since=990.0)]
    found = look([rpm(1), rpm(2), rpm(3)], slow, {"x86_64": 120.0})
    assert [found[n].eta for n in (1, 2, 3)] == [1020, 1140, 1260]  # the other slot: unknown
    assert look([rpm(1, arch="aarch64")], BUSY, {"aarch64": 5.0})[1].eta is None


def test_what_is_held_back_has_no_time_but_a_place() -> None:
    limits = Limits(owner=1, blocked_owners=frozenset({"bad"}))
    running = Counts([rpm(90, "a")])
    tasks = [rpm(1, "bad"), rpm(2, "a"), rpm(3, "b"), rpm(4, "b", "s390x")]
    found = look(tasks, BUSY, {"x86_64": 120.0}, limits=limits, running=running)
    assert {n: (w.position, w.eta) for n, w in found.items()} == {
        2: (1, None),
        3: (2, 1020),
        1: (3, None),
        4: (4, None),
    }
    drained = look([rpm(1)], BUSY, {"x86_64": 120.0}, drained="for now")
    assert (drained[1].eta, drained[1].reason) == (None, "the farm is drained: for now")


def test_it_is_bounded_and_travels_as_json() -> None:
    found = look([rpm(n) for n in range(1, 50)], BUSY, {"x86_64": 120.0}, limit=10)
    assert list(found) == list(range(1, 11))
    assert json.loads(found[1].to_json()) == {
        "reason": "all 2 workers of group PC are busy",
        "position": 1,
        "eta": 1020,
        "group": 0,
    }
