"""Pruning real repositories: nothing wanted goes, nothing unwanted stays, whenever it is killed."""

import gzip
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.commands import prune as command
from backend.config import Config
from backend.prune import Pruner
from backend.pruning import Known, Step
from backend.repository import publish
from tests.integration.deeds import killed_before
from tests.integration.repositories import add, build_packages, listed
from tests.unit.test_web_lab import Lab, make_config, running_lab

pytestmark = [pytest.mark.createrepo, pytest.mark.rpmbuild]

F41, F42, SRPM = "fedora-41-x86_64", "fedora-42-x86_64", "srpm-builds"
OLD = 1_000_000_000


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return build_packages(tmp_path_factory.mktemp("rpms"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path, chroots=(F41, F42), prune__keep="2") as lab:
        yield lab


def age(path: Path) -> None:
    """Make it old."""
    for file in path.iterdir():
        os.utime(file, (OLD, OLD))


def built(lab: Lab, rpms: list[Path], *, project: str = "hello", good: bool = True,
          chroots: Sequence[str] = (F41, F42), old: bool = False) -> int:  # fmt: skip
    """A finished build, in the database and on disk."""
    build = lab.submit(project, chroots=list(chroots))
    top = lab.config.destdir / "admin" / project
    source = add(top / SRPM, f"{build:08d}", rpms[1:])
    url = f"{lab.config.results_url}/admin/{project}/{SRPM}/{build:08d}/{rpms[1].name}"
    lab.source_done(build, srpm_url=url)
    for chroot in chroots:
        result = add(top / chroot, f"{build:08d}-hello", rpms if good else rpms[1:], good)
        (result / "builder-live.log.gz").write_bytes(gzip.compress(b"log\n" * 9))
        lab.report(build, chroot, status=int(good))
        if old:
            age(result)
    if old:
        age(source)
    return build


def prune(config: Config, capsys: pytest.CaptureFixture[str], *, yes: bool = True,
          project: str = "") -> dict[str, Any]:  # fmt: skip
    code = command.run(config, owner="", project=project, yes=yes, as_json=True)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == bool(document["failed"])
    return document


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.name != ".repo")


def directories(repo: Path) -> set[str]:
    return {path.partition("/")[0] for path in listed(repo)}


def test_disk_metadata_database_and_pages_agree(
    lab: Lab, packages: dict[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    lab.project(chroots=[F41, F42])
    lab.project("kept", chroots=[F41], auto_prune=False)
    lab.project("lasting", chroots=[F41], persistent=True)
    for number in range(4):
        built(lab, packages["hello"], old=number < 3)
    built(lab, packages["hello"], good=False, old=True)
    fresh = built(lab, packages["hello"], good=False)
    unfinished = lab.submit("hello", chroots=[F41])
    add(lab.config.destdir / "admin/hello" / SRPM, f"{unfinished:08d}", packages["hello"][1:])
    age(lab.config.destdir / "admin/hello" / SRPM / f"{unfinished:08d}")
    for project in ("kept", "lasting") * 3:
        built(lab, packages["hello"], project=project, chroots=[F41], old=True)
    top = lab.config.destdir / "admin/hello"
    others = [top.with_name(name) / F41 for name in ("kept", "lasting")]
    for repo in (top / F41, top / F42, *others):
        publish(repo)
    before = {path: names(path) for path in (top / F41, top / SRPM)}

    document = prune(lab.config, capsys, yes=False)
    assert document["dry_run"] is True
    assert {path: names(path) for path in (top / F41, top / SRPM)} == before
    gone = sorted({item["build"] for item in document["items"] if item["chroot"] == F41})
    assert gone == [1, 2, 5]
    assert document["bytes"] == sum(item["bytes"] for item in document["items"]) > 0

    assert prune(lab.config, capsys)["items"] == document["items"]
    stay = {f"{number:08d}-hello" for number in (3, 4, fresh)}
    for chroot in (F41, F42):
        assert set(names(top / chroot)) == stay | {"repodata"}
        assert directories(top / chroot) == {"00000003-hello", "00000004-hello"}
    assert names(top / SRPM) == [f"{number:08d}" for number in (4, fresh, unfinished)]
    assert [len(directories(repo)) for repo in others] == [3, 3]
    answers = {n: lab.client.get(f"/api_3/build-chroot/list?build_id={n}").json()["items"]
               for n in (1, 3)}  # fmt: skip
    assert [item["result_url"] for item in answers[1]] == [None, None]
    assert all(item["result_url"] for item in answers[3])
    assert "packages were pruned" in lab.client.get("/coprs/build/1").text
    assert "packages were pruned" not in lab.client.get("/coprs/build/4").text
    assert prune(lab.config, capsys)["items"] == []
    assert lab.api("DELETE", "/build/delete/list", {"builds": [1, 3]}).status_code == 200


def test_a_project_keeps_its_own_number_and_scopes_are_kept(
    lab: Lab, packages: dict[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    for project in ("hello", "other"):
        lab.project(project, chroots=[F41], prune_keep=1)
        for _ in range(3):
            built(lab, packages["hello"], project=project, chroots=[F41])
    document = prune(lab.config, capsys, project="admin/hello")
    assert [item["build"] for item in document["items"]] == [1, 2]
    config = make_config(lab.config.statedir.parent, prune__keep_project="admin/other=2")
    assert [item["build"] for item in prune(config, capsys)["items"]] == [4]


def test_released_and_devel_metadata_lose_the_same_builds(
    lab: Lab, packages: dict[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    lab.project(chroots=[F41], devel_mode=True)
    repo = lab.config.destdir / "admin/hello" / F41
    url = f"{lab.config.results_url}/admin/hello/{F41}"
    for _ in range(3):
        built(lab, packages["hello"], chroots=[F41])
    publish(repo)
    built(lab, packages["hello"], chroots=[F41])
    publish(repo, devel_url=url)
    prune(lab.config, capsys)
    assert directories(repo) == {"00000002-hello", "00000003-hello"}
    assert len(listed(repo / "devel")) == 3 * len(packages["hello"])


def test_logs_stay_for_their_own_term(
    lab: Lab, packages: dict[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    lab.project(chroots=[F41])
    repo = lab.config.destdir / "admin/hello" / F41
    for _ in range(3):
        built(lab, packages["hello"], chroots=[F41])
    publish(repo)
    config = make_config(lab.config.statedir.parent, prune__keep="2", prune__log_days="90")
    (item,) = prune(config, capsys)["items"]
    assert (item["build"], item["what"]) == (1, "packages")
    assert names(repo / "00000001-hello") == ["builder-live.log.gz"]
    page = lab.client.get("/coprs/build/1").text
    assert "the logs stay" in page
    assert prune(config, capsys)["items"] == []
    age(repo / "00000001-hello")
    age(repo / "00000003-hello")
    assert [item["what"] for item in prune(config, capsys)["items"]] == ["all", "logs"]
    assert "builder-live.log.gz" not in names(repo / "00000003-hello")
    assert directories(repo) == {"00000002-hello", "00000003-hello"}


def test_a_chroot_at_its_end_of_life_goes_with_everything(
    lab: Lab, packages: dict[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    lab.project(chroots=[F41, F42])
    built(lab, packages["hello"])
    top = lab.config.destdir / "admin/hello"
    publish(top / F41)
    config = make_config(
        lab.config.statedir.parent, prune__eol="fedora-41=2020-01-01", prune__eol_days="30"
    )
    assert prune(config, capsys, yes=False)["ended_chroots"][0]["path"] == str(top / F41)
    prune(config, capsys)
    assert names(top) == [F42, SRPM]
    project = lab.client.get("/api_3/project?ownername=admin&projectname=hello").json()
    assert list(project["chroot_repos"]) == [F42]
    assert lab.client.get("/coprs/build/1").status_code == 200


def test_what_an_action_waits_to_copy_stays(
    lab: Lab, packages: dict[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    lab.project(chroots=[F41])
    built(lab, packages["hello"], chroots=[F41])
    fork = {"name": "copy", "ownername": "admin"}
    assert lab.api("POST", "/project/fork/admin/hello", fork).status_code == 200
    for _ in range(2):
        built(lab, packages["hello"], chroots=[F41])
    assert prune(lab.config, capsys)["items"] == []
    for action in lab.back("pending-actions"):
        lab.back("update", {"actions": [{"id": action["id"], "result": 1}]})
    assert [item["build"] for item in prune(lab.config, capsys)["items"]] == [1]


class Ledger:
    """Books of a frontend that knows no more than the disk."""

    def unfinished(self) -> frozenset[str]:
        return frozenset()

    def wanted(self) -> frozenset[str]:
        return frozenset()

    def known(self, owner: str, dirname: str) -> Known | str:
        return Known(devel=dirname == "devel")

    def claim(self, steps: Sequence[Step]) -> Sequence[Step]:
        return steps

    def gone(self, steps: Sequence[Step]) -> None:
        pass

    def chroot_gone(self, owner: str, dirname: str, chroot: str) -> None:
        pass

    def finished(self) -> None:
        pass


def work(config: Config) -> None:
    pruner = Pruner(config=config, books=Ledger(), say=lambda _: None)
    pruner.carry_out(pruner.plan(OLD + 86400.0 * 100))
    assert not pruner.failed


def killed(config: Config, deed: int) -> bool:
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=killed_before, args=(deed, work, config))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def state(top: Path) -> dict[str, object]:
    found: dict[str, object] = {
        str(path.relative_to(top)): True
        for path in top.rglob("*")
        if not {".repo.lock", ".repo", "repodata"} & set(path.parts) and path.is_file()
    }
    for repo in (
        top / "jdoe/p" / F41,
        top / "jdoe/devel" / F41,
        top / "jdoe/devel" / F41 / "devel",
    ):
        found[str(repo.relative_to(top)) + " lists"] = directories(repo)
    return found


def test_killed_at_any_moment_the_next_prune_finishes_it(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    config = make_config(tmp_path, prune__keep="1")
    origin = config.destdir.with_name("origin")
    for dirname in ("p", "devel"):
        for number in (1, 2, 3):
            age(add(origin / "jdoe" / dirname / F41, f"{number:08d}-hello", packages["hello"]))
        age(add(origin / "jdoe" / dirname / SRPM, "00000001", packages["hello"][1:]))
        age(add(origin / "jdoe" / dirname / F41, "00000004-hello", packages["hello"][1:], False))
        publish(origin / "jdoe" / dirname / F41)
    publish(origin / "jdoe/devel" / F41, devel_url="http://x/jdoe/devel/" + F41)
    shutil.copytree(origin, config.destdir)
    assert not killed(config, 0)
    wanted = state(config.destdir)
    assert [name for name in wanted if "00000003-hello/" in name]
    assert not [name for name in wanted if "00000001" in name or "00000004" in name]
    deed, kills = 1, 0
    while True:
        shutil.rmtree(config.destdir)
        shutil.copytree(origin, config.destdir)
        if not killed(config, deed):
            break
        kills += 1
        for repo in config.destdir.glob(f"*/*/{F41}"):  # readers never meet a 404
            for path in listed(repo):
                assert (repo / path).is_file()
        assert not killed(config, 0)
        assert state(config.destdir) == wanted
        deed += 1 + deed // 4
    assert kills > 8


def test_a_directory_in_use_is_left_alone(tmp_path: Path, packages: dict[str, list[Path]]) -> None:
    import fcntl

    config = make_config(tmp_path, prune__keep="1")
    repo = config.destdir / "jdoe/p" / F41
    for number in (1, 2):
        add(repo, f"{number:08d}-hello", packages["hello"])
    pruner = Pruner(config=replace(config), books=Ledger(), say=lambda _: None)
    fd = os.open(repo / "00000001-hello", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert pruner.plan(OLD) == []
    finally:
        os.close(fd)
    assert len(pruner.plan(OLD)) == 1


def test_what_a_rollback_withholds_stays_and_supersedes_nothing(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    config = make_config(tmp_path, prune__keep="1")
    repo = config.destdir / "jdoe/p" / F41
    for number in (1, 2):
        age(add(repo, f"{number:08d}-hello", packages["hello"]))
    (repo / "00000002-hello/success").rename(repo / "00000002-hello/withheld")
    pruner = Pruner(config=config, books=Ledger(), say=lambda _: None)
    assert pruner.plan(OLD + 86400.0 * 100) == []
