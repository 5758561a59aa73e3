"""The commands against a real daemon that was really daemonized."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.integration.farm import WAIT, Farm, free_port, make_srpm
from tests.procs import stat

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]


#: Runs a command as nobody, who need not be able to read our Python: all is imported before.
NOBODY = """
import contextlib, io, os, sys
from backend.cli import main
from backend.commands import control
with contextlib.redirect_stdout(io.StringIO()):
    main(["status", "-c", "{conf}"])
os.setgid(65534)
os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


#: A builder whose daemon gets no further before somebody stops it.
PATIENT = """
import select, signal
from backend.builders.rpmbuild import RpmbuildBuilder
class Patient(RpmbuildBuilder):
    def preflight(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        while signal.SIGTERM not in signal.sigpending():
            select.select([], [], [], 0.01)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        super().preflight()
"""


class Background(Farm):
    """A farm whose daemon is in the background, and only its pid file tells which it is."""

    def call(self, *args: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "backend.cli", "-c", str(self.conf), *args]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)

    @property
    def pid(self) -> int:
        return int((self.top / "run" / "copr-be.pid").read_text())

    def down(self) -> None:
        """End it whatever happened."""
        if self.call("stop").returncode == 1:
            self.call("stop", "--now")


@pytest.fixture
def farm() -> Iterator[Background]:
    with tempfile.TemporaryDirectory(prefix="farm-", ignore_cleanup_errors=True) as top:
        farm = Background(Path(top))
        try:
            yield farm
        finally:
            farm.down()


def test_the_starter_returns_when_the_daemon_serves(farm: Background) -> None:
    result = farm.call("--daemonize")
    assert (result.returncode, result.stderr) == (0, "")
    assert farm.http.request("GET", farm.url).status == 200, "at once"
    daemon = Path(f"/proc/{farm.pid}")
    assert (daemon / "fd/0").readlink() == Path("/dev/null")
    assert (daemon / "fd/2").readlink() == farm.top / "log" / "daemon.out"
    assert (daemon / "cwd").readlink() == Path("/")
    assert "Umask:\t0022" in (daemon / "status").read_text()
    status = json.loads(farm.call("status", "--json").stdout)
    assert status["master"]["pid"] == farm.pid
    assert farm.call("check").returncode == 0


def test_the_second_is_refused_and_after_a_kill_it_starts(farm: Background) -> None:
    assert farm.call("-d").returncode == 0
    first = farm.pid
    second = farm.call("-d")
    assert second.returncode == 3
    assert f"already runs as pid {first} " in second.stderr
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{first}/exe").exists(), 10)
    status = farm.call("status")
    assert status.returncode == 3
    assert f"pid {first} was killed" in status.stdout
    assert farm.call("stop").returncode == 3, "a number left in the file is nobody's"
    assert farm.call("-d").returncode == 0
    assert farm.pid != first


def test_a_daemon_with_another_pid_file_is_kept_out_of_the_same_statedir(farm: Background) -> None:
    assert farm.call("-d").returncode == 0
    first, port = farm.pid, free_port()
    other = ("-o", f"backend.rundir={farm.top}/other", "-o", f"web.port={port}")
    second = farm.call(*other)
    assert second.returncode == 3
    assert f"another copr-backend (pid {first}) works in {farm.top}/state:" in second.stderr
    assert list((farm.top / "other").iterdir()) == []
    assert farm.call("status").returncode == 0, "the first was not disturbed"


def test_a_start_that_is_stopped_says_so(farm: Background) -> None:
    (farm.top / "patient.py").write_text(PATIENT)
    with farm.conf.open("a") as file:
        file.write("[builder]\ntype = patient:Patient\n")
    command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), "-d"]
    env = {**os.environ, "PYTHONPATH": f"{farm.top}:{Path(__file__).parents[2]}"}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as starter:
        wait_until(lambda: farm.call("stop").returncode == 0, 20, "a daemon to stop")
        _, errors = starter.communicate(timeout=200)
    assert starter.returncode == 1
    assert errors == "copr_be.py: it was stopped before it was ready\n"


def test_a_start_that_fails_says_why(farm: Background) -> None:
    with socket.create_server(("127.0.0.1", farm.port)):
        result = farm.call("--daemonize")
    assert result.returncode == 1
    assert "cannot listen on 127.0.0.1" in result.stderr
    assert result.stderr.count("\n") == 1
    assert farm.call("status").returncode == 3


def test_a_relative_pid_file(farm: Background) -> None:
    command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), "-p", "here.pid"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def call(*args: str) -> int:
        run = subprocess.run([*command, *args], cwd=farm.top, env=env, check=False, timeout=200)
        return run.returncode

    assert call("-d") == 0
    try:
        pid = int((farm.top / "here.pid").read_text())
        assert Path(f"/proc/{pid}/cmdline").read_text().startswith("copr-be: master")
    finally:
        assert call("stop") == 0
    assert not (farm.top / "here.pid").exists()


def test_stop_returns_when_it_is_gone(farm: Background) -> None:
    assert farm.call("-d").returncode == 0
    pid, everyone = farm.pid, farm.children()
    result = farm.call("stop")
    assert result.returncode == 0
    assert f"copr-backend (pid {pid}) stopped within " in result.stdout
    assert [p for p in (pid, *everyone) if Path(f"/proc/{p}/exe").exists()] == []
    assert farm.call("stop").returncode == 3


def test_stop_needs_no_good_configuration(farm: Background) -> None:
    assert farm.call("-d").returncode == 0
    with farm.conf.open("a") as file:
        file.write("\n[backend]\nbroken\n")
    result = farm.call("stop")
    assert result.returncode == 0, result.stderr
    assert "before the next start: " in result.stderr
    assert farm.call("stop").returncode == 2


def test_stop_now_kills_one_that_does_not_obey(farm: Background) -> None:
    assert farm.call("-d").returncode == 0
    pid, everyone = farm.pid, farm.children()
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: stat(pid)[0] == "T")
    shown = farm.call("status")
    assert shown.returncode == 1
    assert f"copr-backend: suspended, pid {pid}" in shown.stdout
    assert farm.call("stop", "--now").returncode == 0
    wait_until(lambda: not [p for p in everyone if Path(f"/proc/{p}/exe").exists()], 10)


def test_status_and_why_while_it_builds(farm: Background, tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "slow", "echo BUILDING; sleep 600")
    assert farm.call("-d").returncode == 0
    farm.create()
    build = farm.submit(srpm)
    farm.wait(build, "running")
    wait_until(lambda: farm.titled(f" {build}-"), 30, "the RPM build")
    text = farm.call("status").stdout
    assert f"{build}-" in text
    why = farm.call("why", str(build))
    assert (why.returncode, "building" in why.stdout) == (0, True)
    assert farm.call("why", "4711").returncode == 1
    assert "4711 is no task or build" in farm.call("why", "4711").stderr


def test_an_ordinary_user_is_told_what_is_in_the_way(farm: Background) -> None:
    if os.geteuid():
        pytest.skip("needs root to become somebody else")
    assert farm.call("-d").returncode == 0
    farm.top.chmod(0o755)
    code = NOBODY.format(conf=farm.conf)

    def nobody(*args: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", code, *args, "-c", str(farm.conf)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)

    status = nobody("status")
    assert (status.returncode, status.stderr) == (4, "")
    assert f"pid {farm.pid}" in status.stdout
    assert "run this as root or as the daemon's user" in status.stdout
    for command in ("stop", "reload"):
        result = nobody(command)
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert "belongs to another user" in result.stderr
    farm.conf.chmod(0o600)
    assert "Permission denied: run this as root" in nobody("status").stderr


def until_the_build_ends(farm: Background, *words: str) -> None:
    """Run a command that waits for the only build, which is let go once the command says so."""
    command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stdout
        assert waiting.stderr
        assert "waiting for 1 build\n" in iter(waiting.stdout.readline, "")
        assert waiting.poll() is None

        def ended() -> bool:
            farm.let_go()
            return waiting.poll() is not None

        wait_until(ended, 200, "the build, and the command")
        assert (waiting.returncode, waiting.stderr.read()) == (0, "")


def test_drain_waits_for_builds_and_outlives_a_restart(farm: Background, tmp_path: Path) -> None:
    slow, quick = make_srpm(tmp_path, "slow", WAIT), make_srpm(tmp_path, "quick")
    assert farm.call("-d").returncode == 0
    farm.create()
    build = farm.submit(slow)
    wait_until(lambda: farm.titled(f" {build}-"), 30, "the RPM build")
    until_the_build_ends(farm, "drain", "--wait", "--reason", "new disks")
    assert farm.wait(build) == "succeeded"
    waiting = farm.submit(quick)
    assert farm.call("stop").returncode == 0
    assert farm.call("-d").returncode == 0
    status = farm.call("status")
    assert "copr-backend: drained, pid " in status.stdout
    assert "new disks" in status.stdout
    wait_until(lambda: "drained" in farm.call("why", str(waiting)).stdout, 20)
    assert farm.state(waiting) == "pending"
    assert farm.call("resume").returncode == 0
    assert farm.wait(waiting) == "succeeded"
    assert "copr-backend: serving, pid " in farm.call("status").stdout


def test_drained_while_stopped(farm: Background) -> None:
    assert farm.call("-d").returncode == 0
    assert farm.call("stop").returncode == 0
    assert "will start drained" in farm.call("drain").stdout
    assert farm.call("-d").returncode == 0
    assert "copr-backend: drained" in farm.call("status").stdout
    assert farm.call("stop").returncode == 0
    assert "will start undrained" in farm.call("resume").stdout
    assert farm.call("-d").returncode == 0
    assert "copr-backend: serving" in farm.call("status").stdout


def test_stop_wait_lets_builds_end_and_leaves_no_drain(farm: Background, tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "slow", WAIT)
    assert farm.call("-d").returncode == 0
    farm.create()
    build = farm.submit(srpm)
    wait_until(lambda: farm.titled(f" {build}-"), 30, "the RPM build")
    until_the_build_ends(farm, "stop", "--wait")
    assert farm.call("-d").returncode == 0
    assert farm.state(build) == "succeeded"
    assert "copr-backend: serving" in farm.call("status").stdout


def test_reload_and_reopened_logs(farm: Background) -> None:
    assert farm.call("-d").returncode == 0
    text = farm.conf.read_text()
    farm.conf.write_text(text.replace("group0_max_workers = 2", "group0_max_workers = 3"))
    assert farm.call("reload").returncode == 0
    wait_until(lambda: len(farm.titled("worker")) == 3, 10)
    farm.conf.write_text(text + "\n[backend]\n")
    refused = farm.call("reload")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    farm.conf.write_text(text)
    log = farm.top / "log" / "backend.log"
    log.rename(log.with_suffix(".1"))
    assert farm.call("reopen-logs").returncode == 0
    assert farm.call("reload").returncode == 0
    wait_until(lambda: log.exists() and "configuration reloaded" in log.read_text(), 20)
