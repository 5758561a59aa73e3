"""`rebuild --on-host`: a finished build again, on a real sshd's host that the daemon gives."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import hostview
from tests.conftest import wait_until
from tests.integration.farm import Farm, make_srpm, running
from tests.integration.sshd import Sshd

pytestmark = [
    pytest.mark.redis,
    pytest.mark.rpmbuild,
    pytest.mark.createrepo,
    pytest.mark.sshd,
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Farm, Sshd]]:
    top = tmp_path_factory.mktemp("rebuild")
    host = Sshd(top / "host", top / "key").start()
    (top / "known_hosts").write_text(host.known)
    options = {
        "backend__group0_hosts": host.address,
        "hosts__quarantine_after": "1",
        "hosts__check_interval": "1",
        "hosts__identity": str(top / "key"),
        "hosts__known_hosts": str(top / "known_hosts"),
    }
    try:
        with running(**options) as farm:
            farm.create()
            yield farm, host
    finally:
        host.stop()


def leased(farm: Farm) -> list[str]:
    """The tasks that have a host."""
    with farm.redis as client:
        return [task for host in hostview.hosts(client) for task in host["tasks"]]


def start(farm: Farm, build: int, *more: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), "rebuild", str(build)]
    return subprocess.Popen(
        [*argv, "--on-host", *more], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def rebuild(farm: Farm, build: int, *more: str) -> tuple[int, str, str]:
    with start(farm, build, *more) as process:
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err


def built(farm: Farm, tmp_path: Path, name: str, text: str) -> int:
    number = farm.submit(make_srpm(tmp_path, name, text))
    assert farm.wait(number) == "succeeded", farm.stderr
    return number


def test_it_is_built_on_the_host_and_compared(site: tuple[Farm, Sshd], tmp_path: Path) -> None:
    farm, host = site
    number = built(farm, tmp_path, "same", "")
    code, out, err = rebuild(farm, number, "--keep", str(tmp_path / "kept"))
    assert code == 0, out + err
    name = host.address.rpartition("://")[2]
    assert f"made again on host {name} in " in out
    assert "  identical: same-1-1.noarch.rpm\ninstalled packages: the same\n" in out
    assert "in a sandbox" in (tmp_path / "kept" / "builder-live.log").read_text()
    code, out, err = rebuild(farm, number, "--json")
    (result,) = json.loads(out)["results"]
    assert (result["host"], result["rebuilt_on"], result["identical"]) == (name, name, True)
    wait_until(lambda: leased(farm) == [], what="the host is given back")
    wait_until(lambda: host.runs() == [], what="the host has cleaned up")


def test_the_host_is_given_to_one_at_a_time_and_comes_back_from_the_dead(
    site: tuple[Farm, Sshd], tmp_path: Path
) -> None:
    farm, host = site
    number = built(farm, tmp_path, "slow", "echo now; test ! -e /builddir/build/x")
    waits = farm.submit(make_srpm(tmp_path, "waits", "until test -e /tmp/go; do sleep 0.1; done"))
    task = f"{waits}-{next(iter(farm.api('GET', 'mock-chroots/list')))}"
    wait_until(lambda: leased(farm) == [task], what="a build has the host")
    with start(farm, number) as process:
        wait_until(lambda: waiting(farm) == 1, what="the rebuild waits for it")
        assert leased(farm) == [task]
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: waiting(farm) == 0, what="nobody waits any more")
        process.communicate()

    def ended() -> bool:
        for place in host.cache.glob("runs/*/work/area/tmp"):  # none yet, if it has just begun
            with contextlib.suppress(OSError):
                (place / "go").touch()
        return farm.state(waits) in ("succeeded", "failed")

    wait_until(ended, 60, "the end of the build")
    assert farm.state(waits) == "succeeded"


def test_a_host_that_is_gone_is_not_waited_for(site: tuple[Farm, Sshd], tmp_path: Path) -> None:
    farm, host = site
    number = built(farm, tmp_path, "gone", "")
    host.stop()
    try:
        wait_until(lambda: state(farm) == "quarantined", what="it is missed")
        code, _, err = rebuild(farm, number)
        assert code == 2
        assert "no host of group PC can be had: " in err
        assert "Connection refused" in err
        wait_until(lambda: waiting(farm) == 0, what="nobody waits any more")
    finally:
        host.start()
        argv = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), "host", "resume"]
        subprocess.run([*argv, host.address.rpartition("://")[2]], check=True, capture_output=True)
        wait_until(lambda: state(farm) == "ready", what="it is back")


def state(farm: Farm) -> str:
    with farm.redis as client:
        (host,) = hostview.hosts(client)
        return str(host["state"])


def waiting(farm: Farm) -> int:
    with farm.redis as client:
        return int(client.hlen("copr-be:hosts:waiting"))


def test_without_a_daemon_or_hosts_it_says_so(tmp_path: Path) -> None:
    with running() as farm:
        farm.create()
        number = built(farm, tmp_path, "plain", "")
        code, _, err = rebuild(farm, number)
        assert (code, err.count("\n")) == (2, 1)
        assert "no group builds" in err
        assert "leave --on-host out" in err
        farm.stop()
        code, _, err = rebuild(farm, number)
        assert code == 2
        assert "does not run" in err
