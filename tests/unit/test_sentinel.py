"""When is the farm stalled, and what is done about it: time jumps, nobody sleeps."""

from typing import Any

import pytest

from backend.sentinel import LONG_PASS, REMINDER, Sentinel, Step, View, WorkerView

ALARM = 60.0
IDLE = WorkerView(name="0-0-10", group=0, state="S")
OTHER = WorkerView(name="0-1-11", group=0, state="S")
BUSY = WorkerView(name="0-2-12", group=0, state="S", task="7-a-1-x86_64")
FAR = WorkerView(name="1-0-20", group=1, state="S")


def view(**values: Any) -> View:
    return View(**{"workers": (IDLE,), "grabber": "S", "started": "100.0", **values})


def watch(sight: View, until: float, sentinel: Sentinel | None = None) -> list[tuple[float, Step]]:
    """Look at the same sight every quarter of the alarm time."""
    sentinel = sentinel or Sentinel(ALARM, (0,))
    done = []
    for quarter in range(int(until / ALARM * 4) + 1):
        now = 1000.0 + quarter * ALARM / 4
        done += [(now - 1000.0, step) for step in sentinel.look(sight, now)]
    return done


QUEUE = view(queued={0: ("7-a-1-x86_64", 1)}, workers=(IDLE, OTHER, BUSY, FAR))
BACKLOG = view(startable=3, workers=(IDLE, BUSY))
STOPPED = WorkerView(name="0-0-10", group=0, state="T", task="7")
UNAWARE = WorkerView(name="0-0-10", group=0, state="S", task="7", begun=False)


def test_a_task_beside_idle_workers_retires_and_then_ends_them() -> None:
    (at, first), (then, second), (later, third), *rest = watch(QUEUE, 2000)
    assert (at, first.retire, first.end, first.grabber) == (60.0, ("0-0-10", "0-1-11"), (), False)
    assert "build 7-a-1-x86_64 waits in the queue of group 0" in first.what
    assert (then, second.end, second.grabber) == (120.0, ("0-0-10", "0-1-11"), True)
    assert (third.end, third.retire, third.grabber) == ((), (), False)
    assert later == 120.0 + REMINDER
    assert [when for when, _ in rest] == [120.0 + 2 * REMINDER, 120.0 + 3 * REMINDER]


def test_startable_tasks_beside_idle_workers_end_the_grabber_first() -> None:
    (at, first), (_, second), *_ = watch(BACKLOG, 500)
    assert (at, first.grabber, first.retire, first.end) == (60.0, True, (), ())
    assert (second.grabber, second.retire) == (True, ("0-0-10",))


@pytest.mark.parametrize("worker", [STOPPED, UNAWARE])
def test_a_worker_that_does_nothing_with_its_task_is_ended(worker: WorkerView) -> None:
    (at, first), *_ = watch(view(workers=(worker, OTHER)), 70)
    assert (at, first.end, first.grabber) == (60.0, ("0-0-10",), False)
    assert "holds build 7" in first.what


def test_a_stopped_grabber_is_ended() -> None:
    (at, first), (_, second), *_ = watch(view(grabber="T", silence=30), 150)
    assert (at, first.grabber, second.grabber) == (60.0, True, True)


def test_a_silent_grabber_is_ended_but_not_for_one_slow_frontend() -> None:
    assert watch(view(silence=ALARM + LONG_PASS - 1), 1000) == []
    assert watch(view(silence=ALARM + LONG_PASS + 1), 70)[0][1].grabber


def test_a_queue_whose_workers_are_all_gone_is_only_said() -> None:
    dead = WorkerView(name="0-0-10", group=0, state="")
    steps = watch(view(queued={0: ("7", 1)}, workers=(dead,)), 700)
    assert [when for when, _ in steps] == [60.0, 120.0]
    assert all((step.end, step.retire, step.grabber) == ((), (), False) for _, step in steps)
    assert "no living worker" in steps[0][1].what


@pytest.mark.parametrize(
    "sight",
    [
        view(),
        view(workers=(BUSY,), queued={0: ("8", 0)}),
        view(workers=(BUSY,), startable=100),
        view(startable=3, trouble=True),
        view(startable=3, drained=True),
        view(queued={0: ("8", 0)}, drained=True),
        view(queued={0: ("8", 0)}, trouble=True),
        view(silence=10_000, trouble=True),
        view(grabber="", silence=10_000),
        view(startable=0, workers=(IDLE, OTHER)),
    ],
)
def test_no_stall(sight: View) -> None:
    assert watch(sight, 5000) == []


def test_startable_tasks_of_a_full_group_are_no_stall_though_another_is_idle() -> None:
    both = Sentinel(ALARM, (0, 1))
    assert watch(view(startable=5, workers=(BUSY, FAR)), 1000, both) == []
    assert watch(view(startable=5, workers=(IDLE, FAR)), 100, Sentinel(ALARM, (0, 1)))


def test_a_stall_in_one_group_is_seen_while_another_works() -> None:
    sentinel = Sentinel(ALARM, (0, 1))
    steps: list[Step] = []
    for quarter in range(5):
        busy = {1: (str(quarter), 0), 0: ("7", 2)}
        sight = view(workers=(IDLE, FAR), queued=busy, started=str(quarter))
        steps += sentinel.look(sight, 1000.0 + 15 * quarter)
    assert [step.retire for step in steps] == [("0-0-10",)]


@pytest.mark.parametrize(
    "moved",
    [
        view(queued={0: ("8", 1)}),
        view(queued={0: ("7-a-1-x86_64", 2)}),
        view(workers=(BUSY,)),
    ],
)
def test_progress_starts_the_clock_again(moved: View) -> None:
    stuck = view(queued={0: ("7-a-1-x86_64", 1)})
    sentinel = Sentinel(ALARM, (0,))
    steps: list[Step] = []
    for quarter in range(4):
        steps += sentinel.look(stuck, 1000.0 + 15 * quarter)
    steps += sentinel.look(moved, 1060.0)
    steps += sentinel.look(stuck, 1075.0)
    assert steps == []


def test_time_that_nobody_watched_does_not_count() -> None:
    sentinel = Sentinel(ALARM, (0,))
    assert sentinel.look(BACKLOG, 1000.0) == []
    assert sentinel.look(BACKLOG, 1500.0) == [], "we were stopped ourselves"
    for quarter in range(1, 4):
        assert sentinel.look(BACKLOG, 1500.0 + 15 * quarter) == []
    sentinel.forget()
    assert sentinel.look(BACKLOG, 1560.0) == []


def test_the_second_remedy_comes_though_the_first_hides_the_stall_for_a_moment() -> None:
    """A new grabber knows of no startable task until its first pass."""
    sentinel = Sentinel(ALARM, (0,))
    for quarter in range(5):
        steps = sentinel.look(BACKLOG, 1000.0 + 15 * quarter)
    assert steps[0].grabber
    assert sentinel.look(view(), 1075.0) == []
    for now in (1090.0, 1105.0):
        assert sentinel.look(BACKLOG, now) == []
    (second,) = sentinel.look(BACKLOG, 1120.0)
    assert second.retire == ("0-0-10",)


def test_the_end_of_a_stall_is_said_once() -> None:
    sentinel = Sentinel(ALARM, (0,))
    for quarter in range(5):
        sentinel.look(BACKLOG, 1000.0 + 15 * quarter)
    said = [step for n in range(1, 9) for step in sentinel.look(view(), 1060.0 + 15 * n)]
    (step,) = said
    assert (step.over, step.what) == (True, "work goes on after 60 s")
