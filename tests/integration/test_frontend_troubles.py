"""The real daemon against a recorded Copr frontend that breaks, lies and goes away."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.frontend.server import (
    Fault,
    RecordedFrontend,
    body,
    hang_up,
    silence,
    status,
)
from tests.frontend.values import Build
from tests.integration.farm import Farm, make_srpm
from tests.integration.recordedfarm import DEBIAN, Importer, finished, names, said, serving, submit

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]


def test_troubles_of_the_frontend_lose_and_double_nothing(tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "hello", build="sleep 1")
    with serving() as (server, farm), Importer(server):
        server.model.create("jdoe", "p", [DEBIAN])
        server.faults = [
            Fault("/backend/get-build-task", status(500), 2),
            Fault("/backend/get-srpm-build-task", body(b"[" * 100_000), 1),
            Fault("/backend/get-srpm-build-task", body(b"{}", version=""), 1),
            Fault("/backend/starting_build", hang_up, 2, after=True),
            Fault("/backend/pending-jobs", body(b'{"no": "list"}'), 1),
            Fault("/backend/pending-jobs", body(b"<html>"), 1),
            Fault("/backend/update", status(502), 3),
            Fault("/backend/update", hang_up, 3, after=True),
        ]
        builds = [submit(server, srpm) for _ in range(4)]
        wait_until(lambda: all(map(finished, builds)), 80, "four builds")
        assert [build.state for build in builds] == ["succeeded"] * 4, farm.stderr
        assert [len(build.chroots[DEBIAN].packages) for build in builds] == [2] * 4
        assert [fault.times for fault in server.faults] == [0] * 8


def test_a_restart_of_the_farm_and_dead_workers_double_nothing(tmp_path: Path) -> None:
    """A kill of the whole daemon in mid-build, then of workers: packages are listed once."""
    srpm = make_srpm(tmp_path, "hello", build="echo BUILDING; sleep 2")
    with serving() as (server, farm), Importer(server):
        for owner in ("jdoe", "ann", "@team"):
            server.model.create(owner, "p", [DEBIAN])
        builds = []
        for owner in ("jdoe", "ann", "@team", "jdoe"):
            (server.files / srpm.name).write_bytes(srpm.read_bytes())
            source = {"url": f"{server.url}/files/{srpm.name}"}
            with server.lock:
                builds.append(server.model.submit(owner, "p", 1, source))

        def killed() -> bool:
            for pid in farm.titled(f"-{DEBIAN}")[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return True
            return False

        wait_until(killed, 60, "an RPM build")
        wait_until(lambda: any(map(finished, builds)), 60, "one build")
        everyone = farm.children()
        farm.stop(signal.SIGKILL)
        wait_until(lambda: not [p for p in everyone if Path(f"/proc/{p}/exe").exists()], 10)
        farm.start()
        wait_until(lambda: all(map(finished, builds)), 60, "all builds")
        assert [build.state for build in builds] == ["succeeded"] * 4, farm.stderr
        assert [len(build.chroots[DEBIAN].packages) for build in builds] == [2] * 4
        assert (server.files / "results/@team/p" / DEBIAN / "00000003-hello/success").exists()


def test_a_cancel_is_acknowledged_and_leaves_only_logs(tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "slow", build="echo BUILDING; sleep 600")
    with serving() as (server, _), Importer(server):
        server.model.create("jdoe", "p", [DEBIAN])
        build = submit(server, srpm)
        result = server.files / "results/jdoe/p" / DEBIAN / "00000001-slow"
        log = result / "builder-live.log"
        wait_until(lambda: log.exists() and b"BUILDING" in log.read_bytes(), 60, "the build")
        assert log.stat().st_mode & 0o777 == 0o644
        with server.lock:
            server.model.cancel(build.id)
        wait_until(lambda: not server.model.cancels, 15, "both acknowledged")
        own = "installed_pkgs.log.gz"  # the builder's
        wanted = ["backend.log.gz", "build.info", "builder-live.log.gz", own]
        wait_until(lambda: names(result) == wanted, 15, "compressed logs, and nothing else")
        assert build.chroots[DEBIAN].status == 2


#: What a frontend may do over one single task, for ever.
BROKEN = {
    "500": status(500),
    "404": status(404),
    "garbage": body(b"<html>"),
    "hang up": hang_up,
    "silence": silence(40.0),
}


def never_started(server: RecordedFrontend, number: int) -> list[Build]:
    """Builds that still wait for dist-git: no task of theirs was ever offered."""
    with server.lock:
        project = ("jdoe", "p")
        builds = [server.model.submit(*project, 1, {}, chroots=[DEBIAN]) for _ in range(number)]
        for build in builds:
            build.pkg_name, build.status = "hello", 7
    return builds


@pytest.mark.parametrize(
    ("path", "how"),
    [
        *(("get-build-task", how) for how in BROKEN),
        *(("canceled", how) for how in ("500", "404", "hang up", "silence")),
    ],
)
def test_one_broken_task_holds_up_no_other_cancel(path: str, how: str) -> None:
    with serving() as (server, farm):
        server.model.create("jdoe", "p", [DEBIAN])
        builds = never_started(server, 6)
        broken = f"{builds[1].id}-{DEBIAN}"
        server.faults = [Fault(f"{path}/{broken}", BROKEN[how], 10**6)]
        with server.lock:
            for build in builds:
                server.model.cancel(build.id)
        wait_until(lambda: set(server.model.cancels) <= {broken}, 10, "the other cancels")
        if how == "silence":
            assert server.faults[0].times >= 10**6 - 1, "the first silence still lasts"
        later = never_started(server, 1)[0]
        with server.lock:
            server.model.cancel(later.id)
        wait_until(lambda: set(server.model.cancels) <= {broken}, 10, "a later cancel")
        if path == "get-build-task":
            wait_until(lambda: not server.model.cancels, 10, "the broken one: it never ran")
        elif how != "404":
            assert server.model.cancels == [broken]
            wait_until(lambda: said(farm, f"build {broken}: ", "kept"), 40, "a word about it")
            server.faults = []
            wait_until(lambda: not server.model.cancels, 60, "the frontend works again")
        assert farm.stop() == 0, farm.stderr


def test_an_unusable_task_is_failed_after_a_while_and_the_rest_goes_on(tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "hello")
    with serving(backend__trouble_timeout="3") as (server, farm), Importer(server):
        server.model.create("jdoe", "p", [DEBIAN])
        server.model.create("jdoe", "q", [DEBIAN], task={"git_repo": f"{server.url}/files/git/no"})
        server.faults = [Fault("/backend/get-srpm-build-task/1", status(500), 1000)]
        broken = submit(server, srpm)
        lost = submit(server, srpm, "q")
        good = submit(server, srpm)
        wait_until(lambda: all(map(finished, (broken, lost, good))), 90, "three builds")
        assert [b.state for b in (broken, lost, good)] == ["failed", "failed", "succeeded"]
        assert lost.chroots[DEBIAN].result_dir == "00000002-hello"
        wait_until(lambda: said(farm, "cannot clone"), 10)


def test_a_broken_record_leaves_the_only_worker_to_others(tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "hello")
    with serving(backend__group0_max_workers="1") as (server, farm), Importer(server):
        server.model.create("jdoe", "p", [DEBIAN])
        fault = Fault("/backend/get-srpm-build-task/1", status(500), 10**6)
        server.faults = [fault]
        broken = submit(server, srpm)
        wait_until(lambda: fault.times < 10**6 - 1, 30, "two tries")
        good = submit(server, srpm)
        wait_until(lambda: finished(good), 60, "the other build")
        assert (good.state, finished(broken)) == ("succeeded", False), farm.stderr
        server.faults = []
        wait_until(lambda: finished(broken), 60, "the frontend works again")
        assert broken.state == "succeeded", farm.stderr
        assert farm.stop() == 0, farm.stderr


def test_a_dropped_chroot_ends_its_builds(hostile: tuple[RecordedFrontend, Farm]) -> None:
    server, farm = hostile
    project = server.model.create("jdoe", "dropped", [DEBIAN])
    with server.lock:
        build = submit(server, server.files / "hello-1-1.src.rpm", "dropped", chroots=[DEBIAN])
        build.pkg_name, build.status = "hello", 1
        build.chroots[DEBIAN].status = 4
        project.chroots.clear()
    wait_until(lambda: finished(build), 30, "the build")
    assert build.state == "failed"
    wait_until(lambda: said(farm, "does not have this chroot any more"), 10)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"package_name": "../../x"}, "package_name"),
        ({"timeout": -5}, "timeout"),
        ({"timeout": "long"}, "timeout"),
        ({"chroot": "../x-1-y"}, "chroot"),
        ({"git_hash": 7}, "git_hash"),
        ({"project_dirname": ".."}, "project_dirname"),
        ({"task_id": "99-debian-12-x86_64"}, "instead"),
        ({"storage": 1}, "Pulp"),
        ({"repos": "none"}, "repos"),
        ({"modules": {"toggle": [7]}}, "modules"),
    ],
)
def test_hostile_records_are_one_clear_failure(
    hostile: tuple[RecordedFrontend, Farm], task: dict[str, object], words: str
) -> None:
    server, farm = hostile
    server.model.projects["jdoe", "p"].settings["task"] = task
    build = submit(server, server.files / "hello-1-1.src.rpm")
    wait_until(lambda: finished(build), 60, "the build")
    assert build.state == "failed"
    wait_until(lambda: said(farm, f"build {build.id}-{DEBIAN}", words), 10, words)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RecordedFrontend, Farm]]:
    srpm = make_srpm(tmp_path_factory.mktemp("srpm"), "hello")
    with serving() as (server, farm), Importer(server):
        server.model.create("jdoe", "p", [DEBIAN])
        (server.files / srpm.name).write_bytes(srpm.read_bytes())
        yield server, farm
