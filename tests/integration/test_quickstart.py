"""`copr_be.py quickstart` as a new user runs it: real daemon, real build, real end."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from backend.quickstart import prepare
from tests.conftest import wait_until
from tests.ports import free_port

pytestmark = [
    pytest.mark.rpmbuild,
    pytest.mark.redis,
    pytest.mark.createrepo,
    pytest.mark.timeout(400),
]


class Quickstart:
    """Runs the command in a state directory of its own, and finds what it left behind."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = free_port()
        self.mark = uuid.uuid4().hex
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "backend.cli", "quickstart", "--state", str(self.state)]
        process = subprocess.Popen(
            [*command, "--port", str(self.port), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "QUICKSTART_TEST": self.mark},
        )
        self.running.append(process)
        return process

    def run(self, *options: str) -> tuple[int, str, str]:
        process = self.start(*options)
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err

    def left(self) -> list[str]:
        """Command lines of processes that were started by us or use our directory."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environ = (process / "environ").read_bytes()
                command = os.fsdecode((process / "cmdline").read_bytes().replace(b"\0", b" "))
                here = (process / "cwd").readlink().is_relative_to(self.state)
            except OSError:
                continue  # gone, or another user's
            if self.mark.encode() in environ or str(self.state) in command or here:
                found.append(command)
        return found


@pytest.fixture
def quickstart() -> Iterator[Quickstart]:
    with tempfile.TemporaryDirectory(prefix="quick-") as top:
        here = Quickstart(Path(top) / "var")
        yield here
        for process in here.running:
            process.terminate()
            process.communicate(timeout=200)


def serving(process: subprocess.Popen[str]) -> list[str]:
    """Its lines up to the one that says that it goes on serving."""
    lines: list[str] = []
    assert process.stdout
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith("Serving until"):
            return lines
    pytest.fail("\n".join([*lines, process.stderr.read() if process.stderr else ""]))


def test_once_twice_in_a_row(quickstart: Quickstart) -> None:
    for number in (1, 2):
        code, out, err = quickstart.run("--once")
        assert code == 0, out + err
        assert f"build {number}: succeeded" in out
        assert "| %build" in out
        assert f"http://127.0.0.1:{quickstart.port}/coprs/build/{number}" in out
        wait_until(lambda: not quickstart.left(), 5, "no process is left")
    rpms = [*(quickstart.state / "results").glob("*/sample/*/*/coprhello-1.0-1.*.rpm")]
    assert any(not rpm.name.endswith(".src.rpm") for rpm in rpms)
    secret = quickstart.state / "copr-cli.conf"
    assert secret.stat().st_mode & 0o777 == 0o600


def test_serves_until_term_and_refuses_a_second_one(quickstart: Quickstart) -> None:
    first = quickstart.start()
    lines = serving(first)
    (repository,) = [s.split()[1] for s in lines if s.startswith("Repository:")]
    (page,) = [s.split()[1] for s in lines if s.startswith("Page:")]
    for url in (f"{repository}repodata/repomd.xml", page):
        assert urllib3.request("GET", url).status == 200

    code, _, err = quickstart.run()
    assert (code, len(err.splitlines())) == (3, 1)
    assert "already runs" in err
    assert urllib3.request("GET", page).status == 200, "the first one still serves"

    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=200) == 0
    wait_until(lambda: not quickstart.left(), 5, "no process is left")


@pytest.mark.dnf
@pytest.mark.coprcli
def test_the_printed_commands_work(quickstart: Quickstart, tmp_path: Path) -> None:
    lines = serving(quickstart.start())
    dnf, build, listing = [
        shlex.split(line) for line in lines if line.startswith("  ") and "|" not in line
    ]
    installed = [*dnf[:1], f"--installroot={tmp_path / 'root'}", *dnf[1:]]
    options = ["-y", f"--setopt=cachedir={tmp_path / 'cache'}", "--setopt=reposdir=/dev/null"]
    if dnf[0] == "dnf":  # otherwise sudo, which may ask for a password
        subprocess.run([*installed, *options], check=True, capture_output=True, timeout=300)
    out = subprocess.run(listing, check=True, capture_output=True, text=True, timeout=200).stdout
    assert "coprhello" in out
    out = subprocess.run(
        [*build, "--nowait"], check=True, capture_output=True, text=True, timeout=200
    ).stdout
    assert "Created builds: 2" in out


def test_interrupted_before_the_build_is_a_failure(quickstart: Quickstart) -> None:
    conf = prepare(quickstart.state, quickstart.port).path
    # Without workers the build waits until the signal has come.
    conf.write_text(conf.read_text().replace("[backend]\n", "[backend]\nmax_workers = 0\n"))
    process = quickstart.start("--once")
    assert process.stdout
    for line in process.stdout:
        if line.startswith("submitted build"):
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "stopped before" in err
    wait_until(lambda: not quickstart.left(), 5, "no process is left")


def test_port_taken_is_one_line(quickstart: Quickstart) -> None:
    with socket.create_server(("127.0.0.1", quickstart.port)):
        code, _, err = quickstart.run("--once")
    assert (code, len(err.splitlines())) == (1, 1), err
    assert str(quickstart.port) in err
    wait_until(lambda: not quickstart.left(), 5, "no process is left")


def test_killed_quickstart_takes_everything_along(quickstart: Quickstart) -> None:
    process = quickstart.start()
    serving(process)
    process.kill()
    wait_until(lambda: not quickstart.left(), 10, "no process is left")
