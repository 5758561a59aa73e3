"""Signals while `copr_be.py` is still being loaded."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.constants import Exit

#: Calls `main`; the process gets the signal at one of the function calls that follow.
_PROGRAM = """
import os, signal, sys
from backend.cli import main
at, number, calls = int(sys.argv.pop(1)), int(sys.argv.pop(1)), 0
def look(frame, event, arg):
    global calls
    calls += event == "call"
    if calls == at:
        sys.setprofile(None)
        os.kill(os.getpid(), number)
sys.setprofile(look)
try:
    code = main()
finally:
    sys.setprofile(None)
print(calls, end="") if at == 0 else None
sys.exit(code)
"""


def started(tmp_path: Path, at: int, number: int = 0, before: str = "") -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a daemon whose configuration is missing."""
    args = [str(at), str(int(number)), "run", "-c", str(tmp_path / "none.conf")]
    command = [sys.executable, "-c", before + _PROGRAM, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_signal_ends_it_quietly_at_any_moment(tmp_path: Path) -> None:
    code, calls, complaint = started(tmp_path, 0)
    assert (code, complaint.count("\n")) == (Exit.USAGE, 1)
    last = int(calls)
    for part in range(12):
        moment = 2 + last * part // 12  # the first one is that of `main`
        ended = started(tmp_path, moment, signal.SIGINT)
        assert ended == (Exit.INTERRUPTED, "", ""), f"at call {moment} of {last}"
    assert started(tmp_path, last // 2, signal.SIGTERM) == (-signal.SIGTERM, "", "")


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_signal_that_is_ignored_stays_so(tmp_path: Path, part: int) -> None:
    ignore = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    last = int(started(tmp_path, 0)[1])
    code, _, complaint = started(tmp_path, last * part // 4, signal.SIGINT, ignore)
    assert (code, complaint.count("\n")) == (Exit.USAGE, 1)
