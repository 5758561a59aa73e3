"""A running build is followed to its end; what the end of a failed one's log says."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend import disk
from backend.builders.stream import _SIP, Log, follow, killed_inside
from backend.exceptions import BuildError, InfrastructureError
from backend.process import Child

VERDICT = "error: Bad exit status from /var/tmp/rpm-tmp.3SPqSI (%install)\n\nRPM build errors:\n"


@pytest.mark.parametrize(
    "said",
    [
        "Killed",
        "xargs: sh: terminated by signal 9",
        "/var/tmp/rpm-tmp.x: line 33: 17 Killed                  make -j2",
        "gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\n"
        "make: *** [Makefile:3: a.o] Error 1",
        "make: *** [Makefile:3: all] Killed",
    ],
)
def test_a_process_of_the_build_was_killed(said: str) -> None:
    assert killed_inside(f"+ make\n{said}\n{VERDICT}".encode())


@pytest.mark.parametrize(
    "said",
    [
        "make: *** [Makefile:3: all] Error 1",
        "FAIL: test_kill (expected 'Killed' but got 'Stopped')",
        "Killed\n1\n2\n3\nmake: *** [Makefile:3: check] Error 1",
        "Segmentation fault",
    ],
)
def test_a_failure_of_the_package(said: str) -> None:
    assert not killed_inside(f"+ make\n{said}\n{VERDICT}".encode())
    assert not killed_inside(b"Killed\n")


class _Watched:
    """A monitor that keeps what it is given, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._never, self._end = os.pipe()

    def output(self, data: bytes) -> None:
        self.pieces.append(data)

    def check(self) -> None:
        """Nobody cancels."""

    def wakeup_fd(self) -> int:
        return self._never

    def close(self) -> None:
        os.close(self._never)
        os.close(self._end)


@dataclass(frozen=True)
class _Most:
    workdir: Path
    timeout: int = 60
    stall_timeout: int = 60
    max_log: int = 10**6


@pytest.fixture
def monitor() -> Iterator[_Watched]:
    made = _Watched()
    yield made
    made.close()


def _follow(script: str, monitor: _Watched, most: _Most) -> int:
    read, write = os.pipe()
    try:
        with Child(["/bin/sh", "-c", script], stdout=write) as child:
            os.close(write)
            return follow(child, read, Log(monitor, most.max_log), most)
    finally:
        os.close(read)


def test_lines_are_taken_together(tmp_path: Path, monitor: _Watched) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done"
    began = time.monotonic()
    assert _follow(script, monitor, _Most(tmp_path)) == 0
    took = time.monotonic() - began
    assert b"".join(monitor.pieces) == b"".join(b"%d\n" % number for number in range(2000))
    # However slowly they come: one sip at once, one each so often, and what is left at the end.
    assert len(monitor.pieces) <= 2 + took / _SIP


def test_a_line_before_a_silence_is_not_kept_back(tmp_path: Path, monitor: _Watched) -> None:
    """The script goes on only when its first line has been passed on."""
    seen = tmp_path / "seen"
    os.mkfifo(seen)
    output = monitor.output

    def told(data: bytes) -> None:
        output(data)
        if data == b"ready\n":
            with seen.open("wb") as fifo:
                fifo.write(b"go\n")

    monitor.output = told  # type: ignore[method-assign]
    assert _follow(f"echo ready; read x <{seen}; echo $x", monitor, _Most(tmp_path)) == 0
    assert b"".join(monitor.pieces) == b"ready\ngo\n"


def test_too_much_said_in_the_last_moment_is_too_much(tmp_path: Path, monitor: _Watched) -> None:
    with pytest.raises(BuildError, match=r"log larger than 100 bytes \(max_log\)"):
        _follow("echo first; head -c 5000 /dev/zero", monitor, _Most(tmp_path, max_log=100))


def test_a_closed_output_is_silence(tmp_path: Path, monitor: _Watched) -> None:
    with pytest.raises(BuildError, match=r"no output for 1 s \(stall_timeout\)"):
        _follow("exec >&- 2>&-; sleep 60", monitor, _Most(tmp_path, stall_timeout=1))


@pytest.mark.parametrize("code", [0, 1])
def test_no_end_on_a_full_disk_is_believed(
    code: int, tmp_path: Path, monitor: _Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rpmbuild writes the package's scripts to it and does not see that they are cut short: what
    should have failed succeeded, with an empty script."""
    monkeypatch.setattr(disk, "low", lambda _path: True)
    with pytest.raises(InfrastructureError, match="nearly full, not by this build"):
        _follow(f"echo one; exit {code}", monitor, _Most(tmp_path))
