"""The real daemon against a recorded Copr frontend: actions, kills and the frontend's troubles."""

import contextlib
import gzip
import json
import os
import signal
from pathlib import Path

import pytest

from backend.repository import is_published
from tests.conftest import wait_until
from tests.frontend.server import (
    Fault,
    RecordedFrontend,
    hang_up,
    status,
)
from tests.integration.farm import SPEC, make_srpm
from tests.integration.recordedfarm import (
    DEBIAN,
    FEDORA,
    Importer,
    finished,
    names,
    said,
    serving,
    submit,
)
from tests.integration.repositories import listed

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]


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
