"""Locks against real processes: they hold, they name their holder, they die with it."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.locks import exclusive
from tests.conftest import wait_until
from tests.unit.holders import ROOT, holder

HOLD_LOCK = """
import os, sys
from pathlib import Path
from backend.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""
COUNT = """
import sys
from pathlib import Path
from backend.locks import exclusive
path = Path(sys.argv[1])
for _ in range(100):
    with exclusive(path):
        number = int(path.with_name("count").read_text())
        path.with_name("count").write_text(str(number + 1))
"""


def test_a_section_waits_for_its_holder_and_follows_at_his_death(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(HOLD_LOCK, path) as first:
        with subprocess.Popen(
            [sys.executable, "-c", HOLD_LOCK, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as second:
            wait_until(lambda: _has_open(second.pid, path), 20, "the second one waits")
            first.send_signal(signal.SIGKILL)
            assert second.wait(100) == 0
            assert second.stdout
            assert second.stdout.read() == f"{second.pid}\n".encode()
        first.wait(100)


def _has_open(pid: int, path: Path) -> bool:
    """It tries for the lock again and again, so nothing but its descriptor shows."""
    with contextlib.suppress(OSError):
        return any(link.readlink() == path for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_who_waits_says_for_whom_and_not_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    heard: list[str] = []

    def thrice(holder: str) -> None:
        heard.append(holder)
        if len(heard) == 3:
            raise ZeroDivisionError

    with (
        exclusive(path, who="build 7"),
        pytest.raises(ZeroDivisionError),
        exclusive(path, waiting=thrice),
    ):
        pytest.fail("two at once")
    assert heard == ["build 7", "", ""]
    with (
        exclusive(path, who="build 7"),
        pytest.raises(TimeoutError, match=r"build 7 .* 0\.05 s"),
        exclusive(path, limit=0.05),
    ):
        pytest.fail("two at once")
    with exclusive(path, limit=0, waiting=heard.append):
        pass


def test_a_wait_ends_when_the_waiting_one_wants(tmp_path: Path) -> None:
    def canceled(_holder: str) -> None:
        raise ZeroDivisionError

    path = tmp_path / "lock"
    with exclusive(path), pytest.raises(ZeroDivisionError), exclusive(path, waiting=canceled):
        pass


def test_a_section_is_left_when_its_body_fails(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), exclusive(path):
        raise ZeroDivisionError
    with exclusive(path, limit=0):
        pass


def test_a_lock_that_is_removed_each_time_still_lets_in_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", COUNT, str(path)]
    children = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    assert [child.wait(300) for child in children] == [0] * 4
    assert (tmp_path / "count").read_text() == "400"
    assert not path.exists()


def test_a_lock_in_a_directory_that_went_away_does_not_touch_its_successor(tmp_path: Path) -> None:
    place = tmp_path / "repo"
    place.mkdir()
    with exclusive(place / "lock"):
        (place / "lock").unlink()
        place.rmdir()
        place.mkdir()
        with exclusive(place / "lock"):
            pass
        (place / "lock").write_text("of another")
    assert (place / "lock").read_text() == "of another"
