"""The door to other programs, with real ones: limits, kills, descriptors, identities."""

import gc
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend import process
from backend.daemons import orphans
from backend.exceptions import ToolError
from backend.process import Child, find, run
from backend.processid import ProcessId
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def gone(pid: int) -> bool:
    return ProcessId.of(pid) is None


def until_written(file: Path, script: str) -> None:
    """Have the script killed by its timeout, but not before it has written its file."""
    timeout = 0.3
    while not (file.exists() and file.read_text().endswith("\n")):
        with pytest.raises(ToolError, match=rf"sh did not end within {timeout:g} s and was killed"):
            run(sh(script), timeout=timeout)
        timeout *= 3


def test_run_returns_code_and_both_streams() -> None:
    result = run(sh("echo out; echo err >&2; exit 7"), timeout=100)
    assert (result.code, result.stdout, result.stderr) == (7, b"out\n", b"err\n")


def test_a_death_by_signal_is_a_negative_code() -> None:
    assert run(sh("kill -TERM $$"), timeout=100).code == -signal.SIGTERM


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo out; printf 'a\\nlast \\n\\n' >&2; exit 1", "last"),
        ("echo out; exit 1", "out"),
        ("exit 3", "exit code 3"),
        ("printf '\\377' >&2", "\ufffd"),
    ],
)
def test_the_last_line_is_what_to_show(script: str, expected: str) -> None:
    assert run(sh(script), timeout=100).last_line == expected


def test_large_output_on_both_streams_does_not_deadlock() -> None:
    script = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; head -c 9 /dev/zero"
    result = run(sh(script), timeout=100)
    assert (len(result.stdout), len(result.stderr)) == (1_000_009, 1_000_000)


def test_too_much_output_is_killed() -> None:
    with pytest.raises(ToolError, match="printed more than 1000 bytes"):
        run(["cat", "/dev/zero"], timeout=100, limit=1000)


@pytest.mark.parametrize("quiet", ["", "exec >&- 2>&-;"])
def test_a_timeout_kills_the_whole_group(tmp_path: Path, quiet: str) -> None:
    pids = tmp_path / "pids"
    script = f"{quiet} trap '' TERM; sleep 600 & echo $$ $! > {pids}; wait"
    begin = time.monotonic()
    until_written(pids, script)
    assert time.monotonic() - begin < 300
    wait_until(lambda: all(map(gone, map(int, pids.read_text().split()))), 10, "both are killed")


def test_programs_get_a_clean_environment_and_no_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "password")
    result = run(sh("env; cat"), timeout=100)
    names = {line.partition(b"=")[0] for line in result.stdout.splitlines()}
    assert b"SECRET" not in names
    assert {b"PATH", b"LANG"} <= names
    assert run(sh("echo $X"), timeout=100, env={"X": "1", "PATH": "/bin"}).stdout == b"1\n"


def test_only_the_named_descriptors_are_inherited(tmp_path: Path) -> None:
    shared, private = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    os.set_inheritable(private, True)
    try:
        seen = run(["ls", "/proc/self/fd"], timeout=100, pass_fds=(shared,)).stdout.split()
    finally:
        os.close(shared)
        os.close(private)
    assert str(shared).encode() in seen
    assert str(private).encode() not in seen


def test_it_runs_in_the_given_directory_and_leaks_no_descriptor(tmp_path: Path) -> None:
    gc.collect()  # what earlier tests have left open
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert run(["pwd"], timeout=100, cwd=tmp_path).stdout.strip() == bytes(tmp_path)
        with pytest.raises(ToolError):
            run(["sleep", "60"], timeout=0)
        with pytest.raises(ToolError, match="cannot start pwd: No such file"):
            run(["pwd"], timeout=100, cwd=tmp_path / "none")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_missing_program_comes_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "CLEAN_ENV", {"PATH": "/nonexistent"})
    remedy = r"apt-get install createrepo-c .* dnf install createrepo_c"
    with pytest.raises(ToolError, match=remedy):
        find("createrepo_c")
    with pytest.raises(ToolError, match="apt-get install other"):
        find("other")


def test_find_gives_an_absolute_path() -> None:
    assert Path(find("sh")).is_absolute()


def test_a_child_has_a_session_of_its_own_and_tells_its_end() -> None:
    reader, writer = os.pipe()
    with Child(["cat"], stdin=reader) as child:
        os.close(reader)
        wait_until(lambda: os.getsid(child.pid) == child.pid)
        assert child.poll() is None
        assert child.wait(0) is None
        os.close(writer)
        assert select.select([child], [], [], 100)[0] == [child]
        assert child.wait(0) == 0
        assert child.kill() == 0, "killing what has ended changes nothing"
    child.close()


def test_stop_is_patient_and_then_is_not(tmp_path: Path) -> None:
    polite = tmp_path / "polite"
    ready = tmp_path / "ready"
    with Child(sh(f"trap 'touch {polite}; exit 5' TERM; touch {ready}; sleep 600 & wait")) as child:
        wait_until(ready.exists)
        assert child.stop(100) == 5
    assert polite.exists()
    ready.unlink()
    with Child(sh(f"trap '' TERM; touch {ready}; while :; do sleep 600; done")) as child:
        wait_until(ready.exists)
        begin = time.monotonic()
        assert child.stop(0.2) == -signal.SIGKILL
        assert time.monotonic() - begin < 300


def test_leaving_the_block_kills_the_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with Child(sh(f"sleep 600 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait")):
        wait_until(pids.exists)
    wait_until(lambda: all(map(gone, map(int, pids.read_text().split()))), 10, "both are killed")


def test_a_child_dies_with_the_process_that_started_it() -> None:
    script = (
        "import sys\nfrom backend.process import Child\n"
        "child = Child(['sleep', '600'])\nprint(child.pid, flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        # Only once it has become sleep has setpriv set the signal.
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        parent.send_signal(signal.SIGKILL)
        parent.wait(100)
        wait_until(lambda: gone(pid), 10, "the child died as well")


#: A setpriv that is only reached when its parent has been killed.
LATE = """#!/bin/sh
parent=$PPID
echo $$ > {0}.new; mv {0}.new {0}
while kill -0 $parent; do sleep 0.02; done 2>/dev/null
{1} "$@"
echo $? > {2}.new; mv {2}.new {2}
"""


def test_a_lasting_child_does_not_start_after_its_parent(tmp_path: Path) -> None:
    """The parent-death signal is asked for a moment after the fork: kills hit that moment."""
    late, begun, ended = tmp_path / "setpriv", tmp_path / "begun", tmp_path / "ended"
    late.write_text(LATE.format(begun, find("setpriv"), ended))
    late.chmod(0o755)
    script = (
        "import sys\nfrom backend import process\nreal = process.find\n"
        "process.find = lambda name: sys.argv[1] if name == 'setpriv' else real(name)\n"
        "process.Child(['touch', sys.argv[2]], lasting=True)\nsys.stdin.read()\n"
    )
    arguments = [sys.executable, "-c", script, str(late), str(tmp_path / "started")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, cwd=ROOT) as parent:
        wait_until(begun.exists)
        parent.send_signal(signal.SIGKILL)
        parent.wait(100)
        wait_until(ended.exists)
        assert ended.read_text() != "0\n"
        assert not (tmp_path / "started").exists()
    with Child(["touch", str(tmp_path / "started")], lasting=True) as child:
        assert child.wait(100) == 0
    assert (tmp_path / "started").exists()


def test_a_process_id_is_not_fooled_by_a_reused_number() -> None:
    with Child(["sleep", "600"]) as child:
        this = ProcessId.of(child.pid)
        assert this is not None
        assert this.alive
        other = ProcessId(child.pid, this.start - 1)
        assert not other.alive
        assert not other.signal(signal.SIGKILL)
        assert child.poll() is None, "the wrong one was not hit"
        assert this.signal(signal.SIGTERM)
        assert child.wait(100) == -signal.SIGTERM
        assert not this.alive
        assert not this.signal(signal.SIGTERM)


def test_a_zombie_is_not_alive() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ProcessId.of(pid) is None
    finally:
        os.waitpid(pid, 0)


@pytest.mark.parametrize("name", [b"a) Z (b", b"a) Z \xff\r0 (b"])
def test_an_odd_process_name_is_parsed(name: bytes, tmp_path: Path) -> None:
    program = tmp_path / os.fsdecode(name)
    program.symlink_to(find("sleep"))
    with Child([str(program), "600"]) as child:
        wait_until(lambda: Path(f"/proc/{child.pid}/comm").read_bytes() == name + b"\n")
        found = ProcessId.of(child.pid)
        assert found is not None
        assert found.alive
        assert found.state in tuple("RSD")
        assert child.pid in orphans.children()


def test_what_a_program_leaves_in_its_group_is_killed_too(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    until_written(pidfile, f"sleep 600 & echo $! > {pidfile}")
    wait_until(lambda: ProcessId.of(int(pidfile.read_text())) is None, 10)
