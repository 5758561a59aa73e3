"""The master of a real daemon revives what dies, hangs or goes away."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.integration.farm import Farm, free_port, make_srpm, running
from tests.integration.masters import redis_server, said, short_directory, starts, state, workers

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]


@pytest.fixture(scope="module")
def shared() -> Iterator[Farm]:
    with running() as farm:
        farm.create()
        yield farm


def test_a_dead_worker_is_replaced_within_a_second(shared: Farm) -> None:
    wait_until(lambda: len(workers(shared)) == 2, 20)
    victim = workers(shared)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in workers(shared) and len(workers(shared)) == 2, 1.0)


def test_a_stopped_child_goes_on(shared: Farm) -> None:
    for title in ("copr-be: worker", "copr-be: jobgrab"):
        before = said(shared, "had been stopped and goes on")
        pid = shared.titled(title)[0]
        os.kill(pid, signal.SIGSTOP)
        wait_until(partial(told_again, shared, before), 10)
        wait_until(lambda pid=pid: state(pid) != "T", 10)  # type: ignore[misc]


def told_again(farm: Farm, before: int) -> bool:
    return said(farm, "had been stopped and goes on") > before


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_private_redis_is_revived_and_nothing_is_lost(
    shared: Farm, tmp_path: Path, number: signal.Signals
) -> None:
    build = shared.submit(make_srpm(tmp_path, "good", "sleep 1"))

    def servers() -> list[int]:
        return [pid for pid in shared.children() if b"redis-server" in cmdline(pid)]

    wait_until(lambda: len(servers()) == 1)
    os.kill(servers()[0], number)
    assert shared.wait(build) == "succeeded", shared.stderr
    wait_until(lambda: len(workers(shared)) == 2, 20)


def test_an_external_redis_may_be_away_at_the_start_and_later(tmp_path: Path) -> None:
    port = free_port()
    srpm = make_srpm(tmp_path, "good")
    with running(backend__redis_url=f"redis://127.0.0.1:{port}/0") as farm:
        farm.create()
        first = farm.submit(srpm)
        with redis_server(tmp_path, port):
            assert farm.wait(first) == "succeeded", farm.stderr
        second = farm.submit(srpm)
        wait_until(lambda: said(farm, "main: Redis is away") >= 2, 20)
        with redis_server(tmp_path, port) as client:
            assert farm.wait(second) == "succeeded", farm.stderr
            assert farm.stop() == 0
            assert client.keys() == []


def test_what_can_never_start_ends_the_daemon_with_the_reason(tmp_path: Path) -> None:
    plugin = tmp_path / "broken_builder.py"
    plugin.write_text(
        "import backend.workdir\n"
        "from backend.builders.rpmbuild import RpmbuildBuilder\n"
        "class Broken(RpmbuildBuilder):\n"
        "    pass\n"
        "def sweep(*_args, **_more):\n"
        "    raise RuntimeError('the flux is gone')\n"
        "backend.workdir.sweep = sweep\n"
    )
    with short_directory() as top:
        farm = Farm(top, builder__type="broken_builder:Broken")
        command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf)]
        env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
        result = subprocess.run(
            command, env=env, check=False, capture_output=True, text=True, timeout=200
        )
    assert result.returncode == 1, result.stderr
    assert "workers of group 0 cannot start, given up" in result.stderr
    assert "the flux is gone" in result.stderr.splitlines()[-1]


HANGS_ONCE = """
import ctypes
import backend.rpmstep
from pathlib import Path
from backend.builders.rpmbuild import RpmbuildBuilder
backend.rpmstep.HANG = 1.0
class HangsOnce(RpmbuildBuilder):
    def build(self, request, monitor):
        been = Path("{been}")
        if not been.exists():
            been.touch()
            ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock: no signal is handled
        return super().build(request, monitor)
"""


def test_a_build_that_hangs_past_its_own_limit_is_killed_and_built_again(tmp_path: Path) -> None:
    been = tmp_path / "been"
    (tmp_path / "hangs_once.py").write_text(HANGS_ONCE.format(been=been))
    with short_directory() as top, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
        farm = Farm(top, builder__type="hangs_once:HangsOnce", builder__timeout="10")
        try:
            farm.start()
            farm.create()
            build = farm.submit(make_srpm(tmp_path, "hanging"))
            wait_until(been.exists, 20, "the hang")
            assert farm.wait(build, seconds=30) == "succeeded"
            assert "hangs and was killed" in farm.stderr
        finally:
            farm.close()


def test_a_frontend_killed_while_it_starts_is_started_again() -> None:
    with short_directory() as top:
        farm = Farm(top)
        command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf)]
        with (top / "stderr").open("ab") as err:
            farm.process = subprocess.Popen(command, stderr=err)
        try:
            wait_until(lambda: farm.titled("web"), 20, "the frontend's process")
            for pid in farm.titled("web"):
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: "ready, serving" in farm.stderr, 20, "the daemon")
            wait_until(starts(farm, "web ended (signal SIGKILL), starting it again"), 20)
            assert farm.http.request("GET", farm.url).status == 200
            assert farm.stop() == 0
        finally:
            farm.close()
