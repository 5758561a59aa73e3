"""Who publishes, who waits and what fails can be seen, by people and by programs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend import publishboard
from backend.commands.facts import Facts
from backend.commands.status import render
from backend.exceptions import InfrastructureError, Stopped
from backend.publishboard import Board, noted, read
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]


def test_publishers_are_there_as_long_as_they_publish(tmp_path: Path) -> None:
    board, repo = tmp_path / "board", Path("/d/jdoe/p/fedora-41-x86_64")
    assert read(board) == Board()
    with noted(board, "build 7", repo) as first, noted(board, "build 8", repo / "devel"):
        first.begins()
        seen = read(board)
        assert [(one.who, one.repository, one.publishes) for one in seen.publishers] == [
            ("build 7", "jdoe/p/fedora-41-x86_64", True),
            ("build 8", "jdoe/p/fedora-41-x86_64/devel", False),
        ]
        assert (seen.publishing, seen.waiting) == (1, 1)
    assert read(board) == Board()
    assert list(board.iterdir()) == []


def test_a_failure_stays_until_somebody_succeeds(tmp_path: Path) -> None:
    repo = Path("/d/jdoe/p/fedora-41-x86_64")
    with (
        pytest.raises(InfrastructureError),
        noted(tmp_path, "build 7", repo),
    ):
        raise InfrastructureError("no space\nleft")
    with pytest.raises(Stopped), noted(tmp_path, "build 8", repo):
        raise Stopped("canceled")
    (failure,) = read(tmp_path).failures
    assert (failure.repository, failure.who) == ("jdoe/p/fedora-41-x86_64", "build 7")
    assert failure.why == "no space left"
    with noted(tmp_path, "build 9", Path("/d/jdoe/other/fedora-41-x86_64")):
        pass
    assert len(read(tmp_path).failures) == 1
    with noted(tmp_path, "build 9", repo):
        pass
    assert read(tmp_path) == Board()


def test_the_dead_are_not_seen(tmp_path: Path) -> None:
    script = (
        "import sys, signal; from pathlib import Path; from backend.publishboard import noted\n"
        "with noted(Path(sys.argv[1]), 'build 7', Path('/d/a/b/c')):\n"
        "    print(flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert [one.who for one in read(tmp_path).publishers] == ["build 7"]
        child.send_signal(signal.SIGKILL)
    wait_until(lambda: read(tmp_path) == Board())
    assert list(tmp_path.iterdir()) == []


def test_a_board_that_cannot_be_written_troubles_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with noted(tmp_path / "file/board", "build 7", Path("/a/b/c/d")) as note:
        note.begins()
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "failed-x").write_text("no JSON")
    (tmp_path / "board" / f"{os.getpid()}-x").write_text("")
    assert read(tmp_path / "board") == Board()
    with noted(None, "build 7", Path("/a/b/c/d")) as note:
        note.begins()


def test_status_says_so() -> None:
    board = {
        "publishers": [
            {"who": "build 7", "repository": "a/b/c", "since": 90.0, "publishes": True},
            {"who": "build 8", "repository": "a/b/c", "since": 95.0, "publishes": False},
        ],
        "failures": [{"who": "x", "repository": "d/e/f", "why": "disk\x1b full", "when": 40.0}],
    }
    facts = Facts(redis={"where": "", "trouble": ""}, publishing=board)
    text = "\n".join(render(facts, 100.0))
    assert "a/b/c" in text
    assert "waits 5s" in text
    assert "repositories that cannot be published: 1" in text
    assert "d/e/f: disk" in text
    assert "\x1b" not in text
    assert publishboard.read(Path("/nonexistent")) == Board()
