"""What `make bench` counts with: quantiles, notes, /proc, targets, tables."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from backend.process import Child, find
from tests.bench import note, proc
from tests.bench.plan import backlog
from tests.bench.report import table
from tests.bench.speed import enough, quantiles
from tests.bench.targets import Target, targets
from tests.conftest import wait_until


def test_quantiles_are_milliseconds_and_p99_is_the_worst_of_a_hundred() -> None:
    assert quantiles([0.001 * n for n in range(1, 101)]) == {
        "p50_ms": pytest.approx(50.5),
        "p99_ms": pytest.approx(100),
    }
    assert quantiles([0.002]) == {"p50_ms": pytest.approx(2), "p99_ms": pytest.approx(2)}


def test_as_many_tasks_are_measured_as_take_the_time() -> None:
    asked: list[int] = []

    def steady(count: int) -> float:
        asked.append(count)
        return 100.0

    assert enough(steady, 4) == 400
    assert asked == [8, 100, 100]
    assert enough(lambda _: 0.1, 4) == 8
    assert enough(lambda _: 1e9, 4) == 10_000


def test_notes_arrive_with_the_time_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(note.Board(tmp_path / "fifo")) as board:
        monkeypatch.setenv(note.VARIABLE, str(board.path))
        monkeypatch.setattr(note, "_fd", -1)
        before = time.monotonic()
        for number in range(3):
            note.note("task", number)
        note.note("other", 1)
        found = board.wait("task", {0, 1, 2}, 60)
        assert sorted(found) == [0, 1, 2]
        assert before <= found[0] <= found[1] <= found[2] <= time.monotonic()
        with pytest.raises(TimeoutError, match="1 of 1 tasks did not run"):
            board.wait("task", {7}, 0.05)
        os.close(note._fd)
    assert not (tmp_path / "fifo").exists()


def test_proc_sees_children_their_memory_and_their_cpu() -> None:
    # One that ends and one that stays: both count.
    script = "i=0; (while [ $i -lt 1000000 ]; do i=$((i+1)); done); exec sleep 600"
    with Child(["/bin/sh", "-c", script]) as child:
        assert child.pid in proc.family(os.getpid())
        wait_until(lambda: proc.title(child.pid) == "sleep 600", what="the loop is over")
        assert proc.cpu_of_family(child.pid) > 0.01
        memory = proc.memory(child.pid)
        assert memory
        assert 0 < memory.private < 64 * proc.MIB
        assert 0 < memory.pss < 64 * proc.MIB
    assert proc.memory(child.pid) is None
    assert proc.cpu([child.pid]) == {}
    assert proc.title(child.pid) == ""


def test_processes_with_odd_names_are_processes(tmp_path: Path) -> None:
    name = b"a) Z \xff"
    program = tmp_path / os.fsdecode(name)
    program.symlink_to(find("sleep"))
    with Child([str(program), "600"]) as child:
        comm = Path(f"/proc/{child.pid}/comm")
        wait_until(lambda: comm.read_bytes() == name + b"\n", what="it has its name")
        assert proc.parents()[child.pid] == os.getpid()
        assert proc.title(child.pid).endswith(f"{os.fsdecode(name)} 600")


def test_targets_know_which_way_is_good() -> None:
    assert Target(name="x", value=5, unit="s", limit=5).met
    assert not Target(name="x", value=5.1, unit="s", limit=5).met
    fast = Target(name="x", value=299, unit="/s", limit=300, at_least=True)
    assert not fast.met
    assert fast.bound == "≥ 300 /s"
    assert targets({}) == []


def test_tables_line_up() -> None:
    assert list(table(["a", "bb"], [["long", "1"], ["x", "22222"]])) == [
        "a        bb",
        "----  -----",
        "long      1",
        "x     22222",
    ]


def test_the_backlog_is_mixed_and_as_large_as_asked() -> None:
    tasks = backlog(1000)
    assert len({task.task_id for task in tasks}) == 1000
    assert {task.arch for task in tasks} == {None, "x86_64", "aarch64", "ppc64le", "s390x"}
    assert len({task.owner for task in tasks}) == 500
    assert {task.background for task in tasks} == {True, False}
