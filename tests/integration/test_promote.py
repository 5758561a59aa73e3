"""Promoting builds: one step for readers, whenever it is killed; devel mode from end to end."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from backend import repository
from backend.action import Action
from backend.actions import Yard, perform
from backend.repository import publish
from tests.conftest import wait_until
from tests.integration.farm import Farm, make_srpm, running
from tests.integration.repositories import add, build_packages
from tests.unit.test_web_lab import Lab, running_lab
from tests.unit.test_web_pages import log_in

pytestmark = [pytest.mark.createrepo, pytest.mark.rpmbuild]

F41, F42 = "fedora-41-x86_64", "fedora-42-x86_64"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return build_packages(tmp_path_factory.mktemp("rpms"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path, chroots=(F41, F42)) as lab:
        yield lab


def built(lab: Lab, rpms: list[Path], project: str = "hello", *, bad: Sequence[str] = ()) -> int:
    build = lab.submit(project, chroots=[F41, F42])
    top = lab.config.destdir / "admin" / project
    add(top / "srpm-builds", f"{build:08d}", rpms[1:])
    lab.source_done(build)
    for chroot in (F41, F42):
        add(top / chroot, f"{build:08d}-hello", rpms, chroot not in bad)
        lab.report(build, chroot, status=int(chroot not in bad))
    return build


def act(lab: Lab) -> None:
    """Do what the backend would do."""
    yard = Yard(destdir=lab.config.destdir, results_url=lab.config.results_url,
                frontend_url="http://x", say=print)  # fmt: skip
    for pending in lab.back("pending-actions"):
        number = pending["id"]
        perform(Action.from_record(lab.back(f"action/{number}"), number), yard)
        lab.back("update", {"actions": [{"id": number, "result": 1}]})


def promote(lab: Lab, builds: list[int], target: str = "stable", status: int = 200) -> dict[str, object]:  # fmt: skip  # noqa: E501
    reply = lab.api("POST", "/project/promote/admin/hello", {"name": target, "builds": builds})
    assert reply.status_code == status, reply.text
    found: dict[str, object] = reply.json()
    return found


def test_a_set_is_copied_listed_and_shown(lab: Lab, packages: dict[str, list[Path]]) -> None:
    lab.project()
    lab.project("stable")
    one, two = built(lab, packages["hello"]), built(lab, packages["world"], bad=[F42])
    built(lab, packages["hello"])
    reply = promote(lab, [one, two])
    where = f"/api_3/project/promotion/{reply['action_id']}"
    assert lab.client.get(where).json()["state"] == "waiting"
    lab.api("DELETE", "/build/delete/list", {"builds": [one]})
    there = lab.config.destdir / "admin/hello" / F41 / f"{one:08d}-hello"
    assert there.is_dir(), "it is copied first"
    act(lab)
    assert lab.client.get(where).json()["state"] == "succeeded"
    stable = lab.config.destdir / "admin/stable"
    assert repository.listed(stable / F41) == {"00000004-hello", "00000005-hello"}
    assert repository.listed(stable / F42) == {"00000004-hello"}
    assert lab.chroot_states(5) == {F41: "forked"}
    assert (stable / "srpm-builds/00000004").is_dir()
    assert not there.exists()
    again = promote(lab, [two])
    assert [build["id"] for build in again["builds"]] == [5]  # type: ignore[attr-defined]
    act(lab)
    assert repository.listed(stable / F41) == {"00000004-hello", "00000005-hello"}


def test_what_cannot_be_promoted_changes_nothing(lab: Lab, packages: dict[str, list[Path]]) -> None:
    lab.project()
    lab.project("stable", chroots=[F41])
    good, bad = built(lab, packages["hello"]), built(lab, packages["hello"], bad=[F41, F42])
    only_f42 = built(lab, packages["hello"], bad=[F41])
    unfinished = lab.submit()
    before = lab.back("pending-actions")
    for builds, status, words in (
        ([good, bad], 400, "no succeeded results"),
        ([good, only_f42], 400, f"succeeded in no chroot of admin/stable: {F41}"),
        ([good, unfinished], 409, "not finished"),
        ([], 400, "at least one"),
        ([99], 404, "does not exist"),
    ):
        assert words in str(promote(lab, builds, status=status)["error"])
    assert "released already" in str(promote(lab, [good], "hello", 400)["error"])
    assert lab.back("pending-actions") == before
    items = lab.client.get("/api_3/build/list?ownername=admin&projectname=stable").json()["items"]
    assert items == []


def test_builds_of_a_project_that_publishes_by_hand_are_released_one_set_at_a_time(
    lab: Lab, packages: dict[str, list[Path]]
) -> None:
    lab.project(devel_mode=True)
    one, two = built(lab, packages["hello"]), built(lab, packages["world"])
    act(lab)
    repo = lab.config.destdir / "admin/hello" / F41
    publish(repo, choose=lambda _now: ())
    promote(lab, [two], "hello")
    act(lab)
    assert repository.listed(repo) == {f"{two:08d}-hello"}
    assert (repo / f"{one:08d}-hello/success").exists()
    lab.api("PUT", "/project/regenerate-repos/admin/hello")
    act(lab)
    assert repository.listed(repo) == {f"{one:08d}-hello", f"{two:08d}-hello"}


def test_the_page_of_a_project_promotes(lab: Lab, packages: dict[str, list[Path]]) -> None:
    lab.project()
    lab.project("stable")
    build = built(lab, packages["hello"])
    headers, token = log_in(lab)
    page = lab.client.get("/coprs/admin/hello/", headers=headers).text
    assert '<option value="admin/stable">' in page
    assert "its released packages" not in page
    fields = {"form_token": token, "builds": f"{build}", "target": "admin/stable"}
    where = "/coprs/admin/hello/promote"
    assert lab.client.post(where, data=fields, headers=headers).status_code == 303
    assert lab.state(2) == "forked"
    fields["form_token"] = "0" * 64
    assert lab.client.post(where, data=fields, headers=headers).status_code == 403


_DEEDS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "subprocess.Popen"}


def perform_until(action: Action, yard: Yard, deed: int) -> None:
    left = [deed]

    def count(event: str, _arguments: object) -> None:
        if event in _DEEDS:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    perform(action, yard)
    os._exit(0)


def test_killed_at_any_moment_others_publish_none_or_all_of_it(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    origin = tmp_path / "origin"
    for number in (1, 2, 3):
        for chroot in (F41, F42):
            add(origin / "admin/hello" / chroot, f"{number:08d}-hello", packages["hello"])
    add(origin / "admin/stable" / F41, "00000001-old", packages["world"])
    names = {f"{n:08d}-hello": f"{n + 10:08d}-hello" for n in (1, 2, 3)}
    record = {"id": 7, "action_type": 7, "object_type": "copr", "old_value": "admin/hello",
              "new_value": "admin/stable",
              "data": json.dumps({"builds_map": {F41: names, F42: names}})}  # fmt: skip
    action = Action.from_record(record, 7)
    fork = multiprocessing.get_context("fork")
    deed, seen = 1, set()
    while True:
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        shutil.copytree(origin, tmp_path / "results")
        yard = Yard(destdir=tmp_path / "results", results_url="http://x", frontend_url="http://x",
                    say=print)  # fmt: skip
        process = fork.Process(target=perform_until, args=(action, yard, deed))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        for chroot in (F41, F42):
            repo = yard.destdir / "admin/stable" / chroot
            publish(repo)  # somebody else's build ends just now
            new = repository.listed(repo) - {"00000001-old"}
            assert new in (frozenset(), frozenset(names.values()))
            seen.add(bool(new))
        perform(action, yard)
        for chroot in (F41, F42):
            repo = yard.destdir / "admin/stable" / chroot
            assert repository.listed(repo) - {"00000001-old"} == set(names.values())
            assert not list(repo.glob(".[!r]*"))
        if process.exitcode == 0:
            break
        deed += 1 + deed // 2
    assert seen == {False, True}


def rows(farm: Farm, project: str, where: str = "") -> set[str]:
    base = farm.top / "results/admin" / project
    (chroot,) = [path for path in base.iterdir() if path.name != "srpm-builds"]
    return set(repository.listed(chroot / where if where else chroot))


@pytest.mark.redis
def test_devel_mode_and_the_command_with_a_real_daemon(tmp_path: Path) -> None:
    hello, world = make_srpm(tmp_path, "hello"), make_srpm(tmp_path, "world")
    with running(backend__sleeptime="1") as farm:
        chroots = list(farm.api("GET", "mock-chroots/list"))
        for name, devel in (("hello", True), ("stable", False)):
            body = {"name": name, "chroots": chroots, "devel_mode": devel}
            farm.api("POST", "project/add/admin", body)
        builds = [farm.submit(hello, "hello"), farm.submit(world, "hello")]
        assert {farm.wait(build) for build in builds} == {"succeeded"}
        made = {f"{builds[0]:08d}-hello", f"{builds[1]:08d}-world"}
        assert rows(farm, "hello", "devel") == made
        assert rows(farm, "hello") == set()
        command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), "promote"]
        release = [*command, "admin/hello", "admin/hello", str(builds[1])]
        done = subprocess.run(release, check=True, capture_output=True, text=True, timeout=300)
        assert done.stdout.endswith("published\n")
        assert rows(farm, "hello") == {f"{builds[1]:08d}-world"}
        farm.api("PUT", "project/regenerate-repos/admin/hello")
        wait_until(lambda: rows(farm, "hello") == made, 60, "regenerated")
        copy = [*command, "admin/hello", "admin/stable", *map(str, builds)]
        for _ in range(2):
            subprocess.run(copy, check=True, capture_output=True, timeout=300)
            assert rows(farm, "stable") == {"00000003-hello", "00000004-world"}
        wrong = subprocess.run([*copy, "99"], check=False, capture_output=True, text=True)
        assert (wrong.returncode, wrong.stderr) == (1, "copr_be.py: Build 99 does not exist.\n")
