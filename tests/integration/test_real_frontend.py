"""The real daemon against a recorded Copr frontend: actions, kills and the frontend's troubles."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.repository import is_published
from tests.conftest import wait_until
from tests.frontend.distgit import DistGit
from tests.frontend.server import (
    PASSWORD,
    Fault,
    RecordedFrontend,
    body,
    hang_up,
    recorded,
    silence,
    status,
)
from tests.frontend.values import Build
from tests.integration.farm import SPEC, Farm, make_srpm
from tests.integration.repositories import listed

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]

DEBIAN, FEDORA = "debian-12-x86_64", "fedora-41-x86_64"


@contextlib.contextmanager
def serving(**options: str) -> Iterator[tuple[RecordedFrontend, Farm]]:
    """A frontend with no work yet, and a daemon that asks it every second."""
    with tempfile.TemporaryDirectory(prefix="real-", ignore_cleanup_errors=True) as name:
        top = Path(name)
        (top / "files").mkdir()
        with recorded(top / "files") as server:
            farm = Farm(
                top,
                backend__frontend_base_url=server.url,
                backend__frontend_auth=PASSWORD,
                backend__results_baseurl=server.model.results,
                backend__destdir=str(top / "files/results"),
                backend__sleeptime="1",
                backend__distgit_lookaside=DistGit(server).lookaside,
                builder__chroot=DEBIAN,
                **options,
            )
            try:
                yield server, farm.start()
            finally:
                farm.close()


class Importer:
    """dist-git beside the frontend, importing as soon as something waits for it."""

    def __init__(self, server: RecordedFrontend) -> None:
        self.place = DistGit(server)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            with contextlib.suppress(OSError, subprocess.CalledProcessError):  # then once more
                self.place.once()

    def __enter__(self) -> "Importer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def results(server: RecordedFrontend) -> list[int]:
    return [record["result"] for record in server.model.actions.values()]


def test_a_new_project_gets_its_repositories() -> None:
    with serving() as (server, farm):
        server.model.create("jdoe", "p", [DEBIAN, FEDORA])
        wait_until(lambda: results(server) == [1, 1], 30, "both actions")
        for chroot in (DEBIAN, FEDORA):
            assert is_published(server.files / "results/jdoe/p" / chroot)
        bad = server.model.act(3, "repository", {"ownername": "../x"})
        unknown = server.model.act(8, "copr", {})
        wait_until(lambda: results(server)[2:] == [2, 2], 30, "two failures")
        assert "ownername" in server.model.actions[bad]["message"]
        assert "knows no such action" in server.model.actions[unknown]["message"]
        assert farm.stop() == 0, farm.stderr


def test_actions_survive_kills_and_a_frontend_in_trouble() -> None:
    with serving(backend__actions_max_workers="2") as (server, farm):
        wait_until(lambda: len(farm.titled("copr-be: actions")) == 1)
        (dispatcher,) = farm.titled("copr-be: actions")
        server.faults = [
            Fault("/backend/update", status(500), 2),
            Fault("/backend/update", hang_up, 1, after=True),
            Fault("/backend/pending-actions", status(503), 1),
            Fault("/backend/action/3", status(500), 3),
        ]
        for number in range(8):
            server.model.create("jdoe", f"p{number}", [DEBIAN, FEDORA])
        os.kill(dispatcher, signal.SIGKILL)
        wait_until(lambda: results(server) == [1] * 16, 60, "all actions")
        assert farm.titled("copr-be: actions") != [dispatcher]
        for number in range(8):
            assert is_published(server.files / f"results/jdoe/p{number}" / FEDORA)


def submit(server: RecordedFrontend, srpm: Path, project: str = "p", **more: object) -> Build:
    """A build by URL, of a file that the frontend's machine serves."""
    (server.files / srpm.name).write_bytes(srpm.read_bytes())
    source = {"url": f"{server.url}/files/{srpm.name}"}
    with server.lock:
        return server.model.submit("jdoe", project, 1, source, **more)  # type: ignore[arg-type]


def said(farm: Farm, *words: str) -> bool:
    """True when one line of the log has all the words."""
    return any(all(word in line for word in words) for line in farm.stderr.splitlines())


def finished(build: Build) -> bool:
    return build.state in ("succeeded", "failed", "canceled", "skipped")


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_a_build_leaves_what_todays_backend_leaves(tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "hello")
    with serving() as (server, farm), Importer(server):
        server.model.create("jdoe", "p", [DEBIAN])
        build = submit(server, srpm)
        wait_until(lambda: finished(build), 60, "the build")
        assert build.state == "succeeded", farm.stderr
        top = server.files / "results/jdoe/p"
        source = top / "srpm-builds/00000001"
        assert names(source) == [
            "backend.log.gz", "build-00000001.rsync.log", "build.info", "builder-live.log.gz",
            "hello-1-1.src.rpm", "hello.spec", "results.json", "success",
        ]  # fmt: skip
        assert json.loads((source / "results.json").read_text()) == {
            "name": "hello", "epoch": None, "version": "1", "release": "1",
            "architecture_specific_tags": {"debian-12": {"buildarch": ["noarch"]}},
        }  # fmt: skip
        result = top / DEBIAN / "00000001-hello"
        assert names(result) == [
            "backend.log.gz", "build-00000001.rsync.log", "build.info", "builder-live.log.gz",
            "configs.tar.gz", "hello-1-1.noarch.rpm", "hello-1-1.src.rpm", "hello.spec",
            "installed_pkgs.log.gz", "provenance.intoto.json", "results.json", "sbom.spdx.json",
            "success",
        ]  # fmt: skip
        packages = [
            {"name": "hello", "epoch": None, "version": "1", "release": "1", "arch": arch}
            for arch in ("noarch", "src")
        ]
        assert json.loads((result / "results.json").read_text()) == {"packages": packages}
        assert build.chroots[DEBIAN].packages == packages
        assert build.chroots[DEBIAN].result_dir == "00000001-hello"
        assert (result / "build.info").read_text().splitlines()[0] == "build_id=1"
        assert (result / "success").read_text().strip() == "done"
        for path in [source, *source.iterdir(), result, *result.iterdir()]:
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path
        note = gzip.decompress((result / "backend.log.gz").read_bytes()).decode()
        assert "repositories not enabled (copr_base)" in note
        assert "hello-1-1.noarch.rpm" in "".join(listed(top / DEBIAN))
        for update in server.model.updates:
            assert update["result_dir"], update


def test_a_failed_build_leaves_with_what_it_failed(tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "hello", build="exit 3")
    with serving() as (server, farm), Importer(server):
        server.model.create("jdoe", "p", [DEBIAN])
        build = submit(server, srpm)
        wait_until(lambda: finished(build), 60, "the build")
        assert build.state == "failed", farm.stderr
        result = server.files / "results/jdoe/p" / DEBIAN / "00000001-hello"
        wanted = [
            "backend.log.gz", "build-00000001.rsync.log", "build.info", "builder-live.log.gz",
            "configs.tar.gz", "hello-1-1.src.rpm", "hello.spec", "installed_pkgs.log.gz",
        ]  # fmt: skip
        with contextlib.suppress(pytest.fail.Exception):  # then it is shown what is there
            wait_until(lambda: names(result) == wanted, 30, "the logs")
        assert names(result) == wanted
        assert not listed(result.parent)


def test_a_build_from_git_and_one_that_needs_a_missing_tool(tmp_path: Path) -> None:
    with serving() as (server, farm), Importer(server) as importer:
        server.model.create("jdoe", "p", [DEBIAN])
        tree = tmp_path / "tree"
        tree.mkdir()
        (tree / "hello.spec").write_text(SPEC.format(name="hello", tags="", build="true"))
        importer.place.commit("upstream/hello", tree)
        source = {"type": "git", "clone_url": f"{server.model.git}/upstream/hello",
                  "committish": "", "subdirectory": "", "spec": "",
                  "srpm_build_method": "rpkg"}  # fmt: skip
        with server.lock:
            good = server.model.submit("jdoe", "p", 8, source)
            bad = server.model.submit("jdoe", "p", 6, {"gem_name": "rake"})
        wait_until(lambda: finished(good) and finished(bad), 90, "both builds")
        assert good.state == "succeeded", farm.stderr
        assert bad.state == "failed"
        wait_until(lambda: said(farm, "gem2rpm is not installed on this machine"), 10)
        log = server.files / "results/jdoe/p/srpm-builds/00000002/builder-live.log.gz"
        assert b"gem2rpm is not installed" in gzip.decompress(log.read_bytes())


def test_devel_mode_publishes_into_devel_only(tmp_path: Path) -> None:
    srpm = make_srpm(tmp_path, "hello")
    with serving() as (server, farm), Importer(server):
        server.model.create("jdoe", "p", [DEBIAN], devel=True)
        build = submit(server, srpm)
        wait_until(lambda: finished(build), 60, "the build")
        assert build.state == "succeeded", farm.stderr
        repo = server.files / "results/jdoe/p" / DEBIAN
        assert len(listed(repo / "devel")) == 2
        assert listed(repo) == set()
        server.model.createrepo(server.model.projects["jdoe", "p"], [DEBIAN], reason=4)
        wait_until(lambda: len(listed(repo)) == 2, 30, "the released repository")


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
