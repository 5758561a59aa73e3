"""The directory in which a sandbox is tried out: whoever is killed meanwhile leaves none."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.builders import trial

HOLD = """
import pathlib, sys
from backend.builders import trial
with trial.directory(pathlib.Path(sys.argv[1])) as path:
    (path / "area").mkdir(mode=0o700)
    print(path, flush=True)
    sys.stdin.read()
"""


def test_it_is_removed_at_the_end(tmp_path: Path) -> None:
    with trial.directory(tmp_path) as path:
        assert path.parent == tmp_path
        (path / "area").mkdir()
    assert list(tmp_path.iterdir()) == []


def test_the_next_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    for name in ("copr-backend-1.0", ".copr-be-trial"):
        (tmp_path / name).mkdir()
    (tmp_path / f"{trial.PREFIX}file").touch()
    (tmp_path / f"{trial.PREFIX}link").symlink_to("copr-backend-1.0", target_is_directory=True)
    kept = set(tmp_path.iterdir())
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        left = Path(os.fsdecode(holder.stdout.readline().strip()))
        with trial.directory(tmp_path) as path:
            assert set(tmp_path.iterdir()) == {*kept, left, path}, "it is in use"
        holder.send_signal(signal.SIGKILL)
    assert left.is_dir()
    with trial.directory(tmp_path) as path:
        assert set(tmp_path.iterdir()) == {*kept, path}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_what_belongs_to_others_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / f"{trial.PREFIX}theirs"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    trial.sweep(tmp_path)
    assert theirs.is_dir()
