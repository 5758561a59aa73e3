"""What the grabber believes of every task."""

from collections.abc import Callable

import pytest

from backend.conveyor import MEMORY, Conveyor
from backend.fairshare import History
from backend.pending import PendingTask
from tests.unit.test_core_values import pending


@pytest.fixture
def belt() -> Conveyor:
    return Conveyor(history=History(half_life=3600.0, start=0.0))


def tasks(*names: str) -> list[PendingTask]:
    return [pending(name) for name in names]


def waiting(belt: Conveyor) -> list[str]:
    return sorted(task.task_id for task in belt.backlog)


def test_new_tasks_of_a_message_survive_an_older_list(belt: Conveyor) -> None:
    belt.offer(tasks("1"), tick=10.0)
    belt.mirror(tasks("2"), asked=9.0)
    assert waiting(belt) == ["1", "2"]
    belt.mirror(tasks("2"), asked=11.0)
    assert waiting(belt) == ["2"]


def test_an_older_list_or_message_brings_no_ended_task_back(belt: Conveyor) -> None:
    belt.mirror(tasks("1"), asked=1.0)
    belt.start(pending("1"), 0, now=100.0, tick=2.0)
    belt.ended("1", now=110.0, tick=5.0, reported=True)
    belt.mirror(tasks("1"), asked=4.0)
    belt.offer(tasks("1"), tick=5.0)
    assert (waiting(belt), belt.reported) == ([], {"1"})
    belt.delivered("1", tick=6.0)
    belt.mirror(tasks("1"), asked=5.5)
    belt.offer(tasks("1"), tick=7.0)
    assert waiting(belt) == []
    belt.mirror(tasks("1"), asked=6.5)  # the frontend means it
    assert waiting(belt) == ["1"]


def test_memories_end_but_not_while_an_older_list_is_on_its_way(belt: Conveyor) -> None:
    belt.dropped("1", now=0.0, tick=5.0)
    belt.forget(5.0 + MEMORY, asked=4.0)
    belt.mirror(tasks("1"), asked=4.0)
    assert waiting(belt) == []
    belt.forget(6.0 + MEMORY, asked=None)
    belt.offer(tasks("1"), tick=70.0)
    assert waiting(belt) == ["1"]


def test_a_slot_is_taken_until_the_task_ends(belt: Conveyor) -> None:
    belt.mirror(tasks("1", "2"), asked=0.0)
    belt.start(pending("1"), 0, now=100.0, tick=1.0)
    belt.found("9", 1, since=50.0, tick=1.0)
    assert belt.free({0: 2, 1: 1, 2: 3}) == {0: 1, 1: 0, 2: 3}
    assert belt.counts.total == 1
    belt.mirror(tasks("1", "2", "9"), asked=2.0)  # now we know what task 9 is
    assert belt.counts.total == 2
    for name in ("1", "9"):
        belt.ended(name, now=200.0, tick=3.0, reported=False)
        belt.ended(name, now=200.0, tick=3.0, reported=False)
    assert belt.free({0: 2, 1: 1}) == {0: 2, 1: 1}
    assert (belt.counts.total, dict(belt.counts.by)) == (0, {})


def test_unwanted_tasks_are_named_unless_the_list_is_older(belt: Conveyor) -> None:
    belt.start(pending("1"), 0, now=100.0, tick=5.0)
    assert belt.mirror([], asked=4.0) == []
    assert belt.mirror([], asked=6.0) == ["1"]


def test_owners_pay_for_what_they_used(belt: Conveyor) -> None:
    belt.start(pending("1"), 0, now=100.0, tick=1.0)
    expected = belt.history.seconds("jdoe", 100.0)
    assert expected > 0
    belt.ended("1", now=105.0, tick=2.0, reported=True)
    assert belt.history.seconds("jdoe", 105.0) == pytest.approx(5.0, abs=0.1)
    assert belt.history.expected("source") == 5.0
    belt.start(pending("2"), 0, now=105.0, tick=3.0)
    assert belt.taken_back("2", now=105.0, tick=4.0)
    assert belt.history.seconds("jdoe", 105.0) == pytest.approx(5.0, abs=0.1)
    assert waiting(belt) == ["2"]


def test_taken_back_without_a_name_must_be_asked_for(belt: Conveyor) -> None:
    belt.found("9", 0, since=1.0, tick=1.0)
    assert not belt.taken_back("9", now=2.0, tick=2.0)
    belt.mirror(tasks("9"), asked=1.5)
    assert waiting(belt) == ["9"]


def test_lost_tasks_come_back_with_the_next_list(belt: Conveyor) -> None:
    belt.start(pending("1"), 0, now=100.0, tick=5.0)
    belt.start(pending("2"), 0, now=100.0, tick=7.0)
    assert belt.lost(["1", "2", "3"], before=6.0) == ["1"]
    belt.mirror(tasks("1", "2"), asked=5.5)
    assert waiting(belt) == ["1"]


@pytest.mark.parametrize(
    "leave",
    [
        lambda belt, name: belt.dropped(name, 9.0, 9.0),
        lambda belt, name: belt.ended(name, 9.0, 9.0, reported=False),
        lambda belt, name: (belt.ended(name, 9.0, 9.0, reported=True), belt.delivered(name, 9.0)),
    ],
)
def test_nothing_grows(belt: Conveyor, leave: Callable[[Conveyor, str], object]) -> None:
    for number in range(500):
        tick = float(number)
        belt.offer(tasks(str(number)), tick=tick)
        belt.start(pending(str(number)), 0, now=tick, tick=tick)
        leave(belt, str(number))
        belt.mirror([], asked=tick)
        belt.forget(tick + 10 * MEMORY, None)
    for part in (belt.flying, belt.reported, belt._gone, belt.backlog._tasks, belt.counts.by):
        assert not part
    assert len(belt._fresh) <= 1


def test_a_task_that_a_forgetful_redis_brings_back_is_not_confirmed(belt: Conveyor) -> None:
    belt.mirror(tasks("1"), asked=0.0)
    belt.start(pending("1"), 0, now=100.0, tick=1.0)
    assert belt.confirmed("1")
    belt.ended("1", now=110.0, tick=2.0, reported=True)
    assert belt.confirmed("1")
    belt.delivered("1", tick=3.0)
    belt.found("1", 0, since=120.0, tick=4.0)
    belt.ended("1", now=130.0, tick=5.0, reported=True)
    assert not belt.confirmed("1")


def test_what_ended_twice_is_remembered_from_the_last_time(belt: Conveyor) -> None:
    belt.dropped("1", now=0.0, tick=1.0)
    belt.dropped("2", now=0.0, tick=2.0)
    belt.dropped("1", now=0.0, tick=100.0)
    belt.forget(99.0, asked=None)
    belt.offer(tasks("1", "2"), tick=99.0)
    assert waiting(belt) == ["2"]
