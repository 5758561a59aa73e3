"""The real daemon, with real Redis, sandbox, rpmbuild and createrepo_c. Kills are real."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from backend.config import load
from tests.conftest import wait_until
from tests.integration.farm import WAIT, Farm, free_port, make_srpm, running
from tests.integration.masters import redis_server

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]

#: A build that runs until it is allowed to end, or for ever.
SLOW = "echo BUILDING; sleep 600"


@pytest.fixture(scope="module")
def srpms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("srpms")
    make_srpm(top, "good")
    make_srpm(top, "bad", "echo about to fail; false")
    make_srpm(top, "slow", SLOW)
    make_srpm(top, "alien", tags="ExclusiveArch: s390x")
    return top / "SRPMS"


@pytest.fixture(scope="module")
def shared() -> Iterator[Farm]:
    with running() as farm:
        farm.create()
        yield farm


def chroot(farm: Farm) -> str:
    return str(next(iter(farm.api("GET", "mock-chroots/list"))))


def test_a_build_is_published(shared: Farm, srpms: Path) -> None:
    build = shared.submit(srpms / "good-1-1.src.rpm")
    assert shared.wait(build) == "succeeded", shared.stderr
    (item,) = shared.api("GET", f"build-chroot/list?build_id={build}")["items"]
    listing = shared.get(item["result_url"]).decode()
    for name in ("good-1-1.noarch.rpm", "good-1-1.src.rpm", "results.json", "success"):
        assert name in listing
    repo = item["result_url"].rsplit("/", 2)[0]
    assert b"primary.xml.gz" in shared.get(f"{repo}/repodata/repomd.xml")
    log = shared.get(item["result_url"] + "builder-live.log").decode()
    assert "Wrote: " in log
    packages = shared.api("GET", f"build/built-packages/{build}")[item["name"]]["packages"]
    assert sorted(package["arch"] for package in packages) == ["noarch", "src"]


def test_a_failing_build_says_why(shared: Farm, srpms: Path) -> None:
    build = shared.submit(srpms / "bad-1-1.src.rpm")
    assert shared.wait(build) == "failed"
    (item,) = shared.api("GET", f"build-chroot/list?build_id={build}")["items"]
    log = shared.get(item["result_url"] + "builder-live.log").decode()
    assert "about to fail" in log
    assert "Bad exit status" in log.strip().splitlines()[-1]
    assert "Bad exit status" in shared.get(item["result_url"] + "backend.log").decode()


def test_another_architecture_is_one_clear_line(shared: Farm, srpms: Path) -> None:
    build = shared.submit(srpms / "alien-1-1.src.rpm")
    assert shared.wait(build) == "failed"
    assert "Architecture is not included" in shared.api("GET", f"build/{build}")["failure"]


def test_a_url_that_answers_404_is_one_clear_line(shared: Farm) -> None:
    body = {
        "ownername": "admin",
        "projectname": "p",
        "pkgs": [f"{shared.url}/nothing-1-1.src.rpm"],
    }
    build = shared.api("POST", "build/create/url", body)["items"][0]["id"]
    assert shared.wait(build) == "failed"
    assert "answered 404" in shared.api("GET", f"build/{build}")["failure"]


def test_a_truncated_source_package_is_one_clear_line(
    shared: Farm, srpms: Path, tmp_path: Path
) -> None:
    whole = (srpms / "good-1-1.src.rpm").read_bytes()
    cut = tmp_path / "cut-1-1.src.rpm"
    cut.write_bytes(whole[: len(whole) - 200])
    build = shared.submit(cut)
    assert shared.wait(build) == "failed"
    assert "truncated" in shared.api("GET", f"build/{build}")["failure"]


def test_two_builds_run_at_once_and_a_third_waits(srpms: Path) -> None:
    with running() as farm:
        farm.create()
        builds = [farm.submit(srpms / "slow-1-1.src.rpm") for _ in range(3)]

        name = chroot(farm)

        def busy() -> list[int]:
            """The builds whose (endless) RPM builds a worker holds: once two, always these."""
            return [build for build in builds if farm.titled(f" {build}-{name}")]

        wait_until(lambda: len(busy()) == 2, 30, "two RPM builds")
        wait_until(lambda: [farm.state(build) for build in busy()] == ["running"] * 2, 30)
        (third,) = set(builds) - set(busy())
        assert farm.state(third) == "pending"
        # A canceled build makes room within seconds, whatever its processes do.
        victim = busy()[0]
        farm.api("PUT", f"build/cancel/{victim}")
        assert farm.state(victim) == "canceled"
        farm.wait(third, "running")
        with pytest.raises(AssertionError, match="Cannot cancel build"):
            farm.api("PUT", f"build/cancel/{victim}")


def test_killed_worker_builds_again_and_publishes_once(srpms: Path, tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "twice", WAIT)
    with running() as farm:
        farm.create()
        build = farm.submit(srpm)
        title = f"{build}-{chroot(farm)}"
        wait_until(lambda: farm.titled(title), 30, "an RPM build")
        (worker,) = farm.titled(title)
        wait_until(lambda: farm.children(worker), 10, "its sandbox")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: farm.titled(title) not in ([], [worker]), 30, "the build again")

        def ended() -> bool:
            farm.let_go()
            return farm.state(build) in ("succeeded", "failed")

        wait_until(ended, 60, "the end of the build")
        assert farm.state(build) == "succeeded", farm.stderr
        (item,) = farm.api("GET", f"build-chroot/list?build_id={build}")["items"]
        packages = farm.api("GET", f"build/built-packages/{build}")[item["name"]]["packages"]
        assert sorted(package["arch"] for package in packages) == ["noarch", "src"]
        assert "prev_build_backup" in farm.get(item["result_url"]).decode()
        wait_until(lambda: "died" in farm.stderr, what="the death is told")
        assert not list((farm.top / "state" / "work").glob("*/*"))


def test_terminate_stops_everything_and_the_next_start_builds_it(tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "later", WAIT)
    with running() as farm:
        farm.create()
        build = farm.submit(srpm)
        wait_until(lambda: farm.titled(f"{build}-{chroot(farm)}"), 30, "an RPM build")
        everyone = farm.children()
        assert farm.stop() == 0, farm.stderr
        wait_until(lambda: not [p for p in everyone if Path(f"/proc/{p}/exe").exists()], 5)
        farm.start()
        wait_until(lambda: farm.titled(f"{build}-{chroot(farm)}"), 30, "the build again")

        def ended() -> bool:
            farm.let_go()
            return farm.state(build) in ("succeeded", "failed")

        wait_until(ended, 60, "the end of the build")
        assert farm.state(build) == "succeeded"


def test_killed_master_takes_everybody_with_it_and_can_start_again(srpms: Path) -> None:
    with running() as farm:
        farm.create()
        build = farm.submit(srpms / "slow-1-1.src.rpm")
        farm.wait(build, "running")
        everyone = farm.children()
        farm.stop(signal.SIGKILL)
        wait_until(lambda: not [p for p in everyone if Path(f"/proc/{p}/exe").exists()], 10)
        farm.start()
        wait_until(lambda: farm.titled(f"{build}-{chroot(farm)}"), 30, "the build again")


def another(farm: Farm, title: str, than: int) -> bool:
    return farm.titled(title) not in ([], [than])


def test_helpers_are_revived(shared: Farm, srpms: Path) -> None:
    for name in ("jobgrab", "copr-be: log", "copr-be: web"):
        (pid,) = shared.titled(name)
        os.kill(pid, signal.SIGKILL)
        wait_until(partial(another, shared, name, pid), 20, name)
    build = shared.submit(srpms / "good-1-1.src.rpm")
    assert shared.wait(build) == "succeeded"


def daemon(conf: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "backend.cli", "-c", str(conf), *args]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)


def test_a_second_daemon_is_refused_by_pid(shared: Farm) -> None:
    result = daemon(shared.conf)
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1
    assert str(shared.pid) in result.stderr


def test_a_taken_port_is_one_clear_line(shared: Farm, tmp_path: Path) -> None:
    other = Farm(tmp_path, web__port=str(shared.port))
    result = daemon(other.conf)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("copr_be.py: cannot listen on 127.0.0.1")


def test_an_unwritable_destdir_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    other = Farm(tmp_path, backend__destdir=f"{tmp_path}/file/results")
    result = daemon(other.conf)
    assert result.returncode == 1
    assert result.stderr.startswith("copr_be.py: destdir ")
    assert result.stderr.count("\n") == 1


def test_check_names_configuration_and_tools(shared: Farm) -> None:
    result = daemon(shared.conf, "check")
    assert result.returncode == 0, result.stderr
    assert "createrepo_c" in result.stdout


def test_daemonize_writes_a_pid_and_stops_on_term(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    if len(str(tmp_path)) > 80:
        pytest.skip("the temporary directory's name is too long for a unix socket")
    assert daemon(farm.conf, "--daemonize").returncode == 0
    pidfile = load(farm.conf).rundir / "copr-be.pid"
    wait_until(lambda: pidfile.exists() and pidfile.read_text().strip(), 20)
    pid = int(pidfile.read_text())
    try:
        wait_until((tmp_path / "state" / "copr-cli.conf").exists, 20)
        second = daemon(farm.conf, "--daemonize")
        assert (second.returncode, str(pid) in second.stderr) == (3, True)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), 20, "the daemon's end")
    assert not pidfile.exists()


def test_results_json_is_coprs(shared: Farm, srpms: Path) -> None:
    build = shared.submit(srpms / "good-1-1.src.rpm")
    shared.wait(build)
    (item,) = shared.api("GET", f"build-chroot/list?build_id={build}")["items"]
    document = json.loads(shared.get(item["result_url"] + "results.json"))
    assert {"name": "good", "epoch": None, "version": "1", "release": "1", "arch": "src"} in (
        document["packages"]
    )


def test_an_external_redis_is_left_without_queues_and_claims(srpms: Path, tmp_path: Path) -> None:
    port = free_port()
    with (
        redis_server(tmp_path, port) as client,
        running(backend__redis_url=f"redis://127.0.0.1:{port}/0") as farm,
    ):
        farm.create()
        builds = [farm.submit(srpms / "slow-1-1.src.rpm") for _ in range(3)]
        wait_until(lambda: any(farm.state(build) == "running" for build in builds), 30)
        assert client.keys("copr-be:worker:*")
        assert farm.stop() == 0
        left = [str(key) for key in client.scan_iter()]
        assert [key for key in left if "queue" in key or "claim" in key] == []
        assert [key for key in left if "worker" in key] == []
