"""The master of a real daemon: reloads, drains, revives, gives up, and leaves nothing behind."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import backend
from backend.daemons.prepare import program_places
from tests.conftest import wait_until
from tests.integration.farm import WAIT, Farm, free_port, make_srpm, running
from tests.integration.masters import redis_server, said, short_directory, starts, workers

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]


@pytest.fixture(scope="module")
def shared() -> Iterator[Farm]:
    with running() as farm:
        farm.create()
        yield farm


def edit(farm: Farm, **options: str) -> None:
    """Change the configuration file in place."""
    text = farm.conf.read_text()
    for key, value in options.items():
        lines = [line for line in text.splitlines() if not line.startswith(f"{key} =")]
        lines.insert(lines.index("[backend]") + 1, f"{key} = {value}")
        text = "\n".join(lines) + "\n"
    farm.conf.write_text(text)


def test_groups_grow_and_shrink_and_a_surplus_worker_finishes_first(tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "slow", WAIT)
    with running() as farm:
        farm.create()
        builds = [farm.submit(srpm) for _ in range(2)]
        chroot = next(iter(farm.api("GET", "mock-chroots/list")))
        wait_until(lambda: len(farm.titled(f"-{chroot}")) == 2, 30, "both builds on workers")
        edit(farm, group0_max_workers="1")
        wait_until(lambda: said(farm, "at most 1 workers") == 1, 20, "the smaller group")

        def ended() -> bool:
            farm.let_go()
            return {farm.state(build) for build in builds} <= {"succeeded", "failed"}

        wait_until(ended, 60, "the end of both builds")
        assert [farm.state(build) for build in builds] == ["succeeded"] * 2
        wait_until(lambda: len(workers(farm)) == 1, 20, "one worker")
        assert said(farm, " died (") == 0
        edit(farm, group0_max_workers="5")
        os.kill(farm.pid, signal.SIGHUP)
        wait_until(lambda: len(workers(farm)) == 5, 20, "five workers")
        edit(farm, build_groups="2", group1_max_workers="3")
        wait_until(lambda: len(farm.titled("worker 1-")) == 3, 20, "the second group")
        edit(farm, build_groups="1")
        wait_until(lambda: farm.titled("worker 1-") == [], 20, "the second group's end")
        assert farm.stop() == 0


def test_a_bad_edit_keeps_the_old_configuration_and_says_so_once(shared: Farm) -> None:
    good = shared.conf.read_text()
    wait_until(lambda: len(workers(shared)) == 2, 20, "both workers")
    (master, before) = (shared.pid, workers(shared))
    edit(shared, log_level="shouting")
    wait_until(starts(shared, "configuration not reloaded, the old one stays"), 20)
    shared.conf.write_text(good)
    wait_until(starts(shared, "configuration reloaded"), 20, "the corrected file")
    assert said(shared, "configuration not reloaded") == 1
    assert "must be one of debug, info, warning, error" in shared.stderr
    assert (shared.pid, workers(shared)) == (master, before)


def test_a_good_edit_that_a_fault_of_the_disk_refused_is_taken_later() -> None:
    """Else a farm whose size was raised from 0 at that moment would stand still for ever."""
    with running(backend__group0_max_workers="1") as farm:
        results, away = farm.top / "results", farm.top / "away"
        results.rename(away)
        results.touch()
        edit(farm, group0_max_workers="2")
        wait_until(starts(farm, "configuration not reloaded, the old one stays: destdir"), 60)
        results.unlink()
        away.rename(results)
        wait_until(lambda: len(workers(farm)) == 2, 60, "the edit is taken")
        assert said(farm, "configuration not reloaded") == 1


#: A Python that has no zstd, wherever the tests run.
NO_ZSTD = """
import sys
sys.modules["compression.zstd"] = sys.modules["backports.zstd"] = None
"""


def test_what_publishing_lacks_is_said_before_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_ZSTD)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    with running() as farm:
        with farm.conf.open("a") as file:
            file.write("[repository]\ncompression = zstd\n")
        wait_until(starts(farm, "configuration not reloaded, the old one stays"), 20)
        assert "compression = zstd needs Python 3.14, or: " in farm.stderr
        assert farm.stop() == 0
        command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf)]
        again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1
    assert again.stderr.startswith("copr_be.py: [repository] compression = zstd needs")
    assert len(again.stderr.splitlines()) == 1


def test_what_needs_a_restart_is_named(shared: Farm) -> None:
    good = shared.conf.read_text()
    edit(shared, rundir="/run/elsewhere")
    wait_until(starts(shared, "take effect at the next start: rundir"), 20)
    shared.conf.write_text(good)


def test_drain_lasts_over_a_restart_and_resume_ends_it() -> None:
    with running() as farm:
        os.kill(farm.pid, signal.SIGRTMIN)
        wait_until(lambda: farm.redis.get("copr-be:drain"), 10, "the drain")
        assert (farm.top / "state" / "drained").read_text().strip().endswith("drained by a signal")
        assert farm.stop() == 0
        farm.start()
        wait_until(lambda: farm.redis.get("copr-be:drain"), 10, "the drain again")
        os.kill(farm.pid, signal.SIGRTMIN + 1)
        wait_until(lambda: farm.redis.get("copr-be:drain") is None, 10, "its end")
        assert not (farm.top / "state" / "drained").exists()


def test_term_while_starting_ends_it_cleanly() -> None:
    with short_directory() as top:
        farm = Farm(top)
        command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf)]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            wait_until((top / "run" / "copr-be.pid").exists, 20, "the pid file")
            process.terminate()
            assert process.wait(120) == 0, process.stderr and process.stderr.read()
        assert list((top / "run").iterdir()) == []


def test_the_watchdog_is_fed_and_status_told() -> None:
    with short_directory() as top, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(top / "notify"))
        sock.settimeout(120)
        farm = Farm(top)
        env = {**os.environ, "NOTIFY_SOCKET": str(top / "notify"), "WATCHDOG_USEC": "400000"}
        command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf)]
        with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
            told: list[str] = []
            while told.count("WATCHDOG=1") < 3 or not any("0/2 busy" in text for text in told):
                told.append(sock.recv(4096).decode())
            process.send_signal(signal.SIGHUP)
            while not told[-1].startswith("RELOADING=1\nMONOTONIC_USEC="):
                told.append(sock.recv(4096).decode())
            while not told[-1].startswith("READY=1"):
                told.append(sock.recv(4096).decode())
            process.terminate()
            assert process.wait(120) == 0
        assert told[0].startswith("READY=1\nSTATUS=serving http://")


def test_starts_and_stops_leave_nothing(tmp_path: Path) -> None:
    port = free_port()
    with redis_server(tmp_path, port) as client, short_directory() as top:
        farm = Farm(top, backend__redis_url=f"redis://127.0.0.1:{port}/0")
        farm.start()
        assert farm.stop() == 0
        (top / "state/publishing").mkdir(exist_ok=True)
        before = everything(top)
        for _ in range(3):
            farm.start()
            (top / "state/publishing/999999-0").touch()  # of a publisher that was killed
            everyone = farm.children()
            assert farm.stop() == 0
            assert client.keys() == []
            wait_until(partial(gone, everyone), 5)
        assert everything(top) == before
        assert list((top / "run").iterdir()) == []
        farm.close()


def gone(pids: list[int]) -> bool:
    return not [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]


def everything(top: Path) -> set[str]:
    return {str(path) for path in top.rglob("*")}


def readable_by_all(path: str) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in Path(path).resolve().parents)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.skipif(
    not all(readable_by_all(f"{place}/file") for place in program_places()),
    reason="this program, or its Python, is root's own",
)
def test_root_changes_to_the_configured_user() -> None:
    nobody = pwd.getpwnam("nobody")
    with short_directory() as top:
        top.chmod(0o755)
        farm = Farm(top, backend__user="nobody", web__cli_config=f"{top}/state/cli.conf")
        farm.conf.chmod(0o644)
        try:
            farm.start()
            for pid in (farm.pid, *farm.children()):
                status = Path(f"/proc/{pid}/status").read_text()
                ids = {line.split(":")[0]: line.split()[1:] for line in status.splitlines()}
                assert ids["Uid"] == [str(nobody.pw_uid)] * 4
                assert ids["Gid"] == [str(nobody.pw_gid)] * 4
                assert "0" not in ids["Groups"]
            assert (top / "state").stat().st_uid == nobody.pw_uid
            assert farm.stop() == 0, farm.stderr
        finally:
            farm.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_program_that_is_roots_own_is_told_at_once() -> None:
    """As it is when the tree lies in root's home."""
    with short_directory() as top:
        top.chmod(0o755)
        farm = Farm(top, backend__user="nobody")
        farm.conf.chmod(0o644)
        (top / "own").mkdir(mode=0o700)
        shutil.copytree(Path(backend.__file__).parent, top / "own/backend")
        command = [sys.executable, "-B", "-m", "backend.cli", "-c", str(farm.conf)]
        done = subprocess.run(
            command, cwd=top / "own", check=False, capture_output=True, text=True, timeout=300
        )
        (line,) = done.stderr.splitlines()
        assert (done.returncode, "user = nobody: may not read the program in" in line) == (2, True)
