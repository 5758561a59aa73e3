"""`make bench` with tiny numbers: every part runs, and nothing is left, whatever ends it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import proc
from tests.bench.speed import RIVALS, missing
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.redis,
    pytest.mark.rpmbuild,
    pytest.mark.createrepo,
    pytest.mark.timeout(600),
]


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose name is short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="b-") as top:
        yield Path(top)


def start(short: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench", "--small", "--out", f"{short}/out", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(short)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_over(short: Path) -> list[str]:
    """Processes whose command line or directory is below `short`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            what = f"{proc.title(int(entry.name))} {(entry / 'cwd').readlink()}"
            if f"{short}/" in what:
                found.append(what)
    return found


def test_every_part_runs_and_writes_its_figures(short: Path) -> None:
    process = start(short)
    out, _ = process.communicate(timeout=580)
    assert process.returncode == 0, out
    result = json.loads((short / "out" / "bench.json").read_text())
    parts = result["parts"]
    assert set(parts) == {"a", "b", "d", "e", "f", "g"}  # c is measured, and stands, with b
    names = [row["name"] for row in parts["a"]["rows"]]
    assert names == ["copr-backend", *(name for name in RIVALS if name not in missing(RIVALS))]
    for row in parts["a"]["rows"]:
        assert 0 < row["p50_ms"] <= row["p99_ms"] < 60_000
        assert row["tasks_per_s"] > 0
    assert [row["workers"] for row in parts["b"]["rows"]] == [2, 3]
    assert all(0.5 < row["private_mib"] < 100 for row in parts["b"]["rows"])
    assert "worker" in parts["b"]["rows"][1]["idle_cpu_by_role"]
    assert parts["d"]["plan_ms"] > 0
    assert len(parts["e"]["farm_s"]) == len(parts["e"]["xargs_s"]) == 1
    assert [row["packages"] for row in parts["f"]["rows"]] == [20, 60]
    assert all(row["ratio"] > 0 for row in parts["f"]["rows"])
    assert 1 <= parts["f"]["at_once"]["runs"] <= 4
    assert [row["name"] for row in parts["g"]["rows"]][:2] == ["front page", "project page"]
    assert all(row["ratio"] > 0 for row in parts["g"]["lists"])
    assert parts["g"]["readers"]["complete"] == 3
    for text in (
        "p50 ms",
        "createrepo_c --update",
        "private MiB",
        "scheduler, 1000 waiting",
        "overhead",
        "3 of 3 readers",
        "target",
    ):
        assert text in out
    assert [path.name for path in short.iterdir()] == ["out"]
    wait_until(lambda: left_over(short) == [], what="all its processes are gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(short: Path, number: signal.Signals) -> None:
    process = start(short, "--parts", "a")

    def working() -> bool:
        return any("copr-be: worker" in proc.title(pid) for pid in proc.family(process.pid))

    wait_until(working, 60, "a worker of the measured daemon")
    family = proc.family(process.pid)
    process.send_signal(number)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 130, out
    assert "Traceback" not in out
    assert not (short / "out").exists()
    assert list(short.iterdir()) == []
    wait_until(lambda: not {*family} & {*proc.parents()}, 5, "all its processes are gone")


def test_unknown_parts_are_refused(short: Path) -> None:
    process = start(short, "--parts", "a,z")
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 2
    assert "'a,z': name parts of a,b,c,d,e,f" in out
