"""The pid file, and who may live in a directory: real processes, real kills."""

import fcntl
import os
import signal
from pathlib import Path

import pytest

from backend import locks
from backend.constants import Exit
from backend.exceptions import AlreadyRunning, CoprBackendError
from backend.locks import Dwelling, PidFile
from tests.conftest import wait_until
from tests.unit.holders import holder

HOLD_PIDFILE = """
import os, sys
from pathlib import Path
from backend.locks import PidFile
pidfile = PidFile(Path(sys.argv[1])).acquire()
print(os.getpid(), flush=True)
sys.stdin.read()
pidfile.release()
"""
HOLD_DIRECTORY = """
import os, sys
from pathlib import Path
from backend.locks import Dwelling
dwelling = Dwelling(Path(sys.argv[1]), "statedir")
dwelling.acquire()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_the_pid_file_says_who_runs_and_goes_with_him(tmp_path: Path) -> None:
    path = tmp_path / "copr-be.pid"
    pidfile = PidFile(path).acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.release()
    assert not path.exists()
    pidfile.release()


def test_a_second_daemon_is_refused_and_told_who_runs(tmp_path: Path) -> None:
    path = tmp_path / "copr-be.pid"
    with holder(HOLD_PIDFILE, path) as daemon:
        with pytest.raises(AlreadyRunning) as caught:
            PidFile(path).acquire()
        assert f"pid {daemon.pid} " in str(caught.value)
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == Exit.ALREADY_RUNNING
        assert path.read_text() == f"{daemon.pid}\n", "the refused one changed nothing"
        assert daemon.poll() is None


def test_a_file_left_by_sigkill_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "copr-be.pid"
    with holder(HOLD_PIDFILE, path) as daemon:
        daemon.send_signal(signal.SIGKILL)
        daemon.wait(100)
        assert path.read_text() == f"{daemon.pid}\n"
        pidfile = PidFile(path).acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.release()


def test_a_daemon_that_ends_leaves_the_way_free(tmp_path: Path) -> None:
    path = tmp_path / "copr-be.pid"
    with holder(HOLD_PIDFILE, path) as daemon:
        assert daemon.stdin
        daemon.stdin.close()
        assert daemon.wait(100) == 0
    assert not path.exists()
    PidFile(path).acquire().release()


def test_a_longer_pid_in_the_file_is_overwritten_whole(tmp_path: Path) -> None:
    path = tmp_path / "copr-be.pid"
    path.write_text("99999999999999\n")
    pidfile = PidFile(path).acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.release()


def test_a_child_that_abandons_its_copy_leaves_the_lock_to_the_parent(tmp_path: Path) -> None:
    path = tmp_path / "copr-be.pid"
    pidfile = PidFile(path).acquire()
    pid = os.fork()
    if pid == 0:
        pidfile.abandon()
        signal.pause()
        os._exit(0)
    try:
        with pytest.raises(AlreadyRunning):
            PidFile(path).acquire()
        pidfile.abandon()  # the parent is gone; its child must not keep the lock
        wait_until(lambda: _free(path), 10, "the child abandoned its copy")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _free(path: Path) -> bool:
    try:
        PidFile(path).acquire().release()
    except AlreadyRunning:
        return False
    return True


def test_a_look_tells_who_runs_and_disturbs_nobody(tmp_path: Path) -> None:
    path = tmp_path / "copr-be.pid"
    pidfile = PidFile(path)
    assert pidfile.holder() is None, "no file"
    with holder(HOLD_PIDFILE, path) as daemon:
        found = pidfile.holder()
        assert found
        assert found.pid == daemon.pid
        assert pidfile.held_by(found)
        daemon.send_signal(signal.SIGKILL)
        daemon.wait(100)
    assert pidfile.holder() is None, "the file is left, the daemon is not"
    assert path.exists()


def test_a_stranger_whose_number_is_in_the_file_is_not_taken_for_the_daemon(
    tmp_path: Path,
) -> None:
    path = tmp_path / "copr-be.pid"
    with holder(HOLD_PIDFILE, path):
        path.write_text(f"{os.getpid()}\n")
        found = PidFile(path).holder()
        assert found
        assert found.pid == os.getpid()
        assert not PidFile(path).held_by(found)


def test_a_daemon_starts_although_somebody_has_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look holds the lock for an instant; the start must not be refused over that."""
    path = tmp_path / "copr-be.pid"
    path.write_text("99999999\n")
    flock, tries = fcntl.flock, [1, 2]
    with path.open() as look:
        flock(look, fcntl.LOCK_SH)

        def tried(fd: int, how: int) -> None:
            if tries and tries.pop() == 1:
                flock(look, fcntl.LOCK_UN)  # before the second try
            flock(fd, how)

        monkeypatch.setattr(fcntl, "flock", tried)
        PidFile(path).acquire().release()
    assert not tries


def test_a_missing_run_directory_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CoprBackendError, match=r"none/x\.pid: No such file.*correct rundir"):
        PidFile(tmp_path / "none/x.pid").acquire()


def test_a_file_that_is_removed_while_it_is_opened_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pid"
    ending = PidFile(path).acquire()
    lock = locks._busy

    def busy(fd: int, kind: int) -> bool:
        ending.release()  # between the other's open and its lock
        return lock(fd, kind)

    monkeypatch.setattr(locks, "_busy", busy)
    second = PidFile(path).acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(AlreadyRunning):
        PidFile(path).acquire()
    second.release()


def test_a_check_leaves_no_file(tmp_path: Path) -> None:
    PidFile(tmp_path / "a.pid").check()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_has_one_dweller_and_is_free_when_it_is_killed(tmp_path: Path) -> None:
    """Two daemons with different pid files would write to the same Redis data."""
    mine = Dwelling(tmp_path, "statedir")
    with holder(HOLD_DIRECTORY, tmp_path) as daemon:
        with pytest.raises(AlreadyRunning) as caught:
            mine.acquire()
        assert str(caught.value) == (
            f"another copr-backend (pid {daemon.pid}) works in {tmp_path}:"
            " stop it first, or use a configuration with another statedir"
        )
        daemon.kill()
        daemon.wait(100)
        mine.acquire()
    child = os.fork()
    if child == 0:
        mine.release()  # its copy only
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(AlreadyRunning):
        Dwelling(tmp_path, "statedir").acquire()
    mine.release()
    assert list(tmp_path.iterdir()) == []
