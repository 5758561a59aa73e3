"""Deleting builds and projects by API v3, and what goes of them on disk."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.exceptions import InfrastructureError
from backend.web import housekeeping
from tests.unit.test_web_lab import CHROOTS, Lab, refused, running_lab

FEDORA, DEBIAN = CHROOTS


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path, web__max_upload="4096") as lab:
        yield lab


def test_delete_builds(lab: Lab) -> None:
    lab.project()
    build = lab.submit(chroots=[FEDORA])
    refused(lab.api("DELETE", f"/build/delete/{build}"), 409, "is not finished")
    lab.source_done(build)
    lab.report(build, FEDORA, status=0)
    results = lab.config.destdir / f"admin/hello/{FEDORA}/{build:08d}-hello"
    results.mkdir(parents=True)
    other = lab.submit()
    refused(lab.api("DELETE", "/build/delete/list", {"builds": [build, other]}), 409, "2")
    reply = lab.api("DELETE", "/build/delete/list", {"builds": [build]})
    assert reply.json() == {"builds": [build]}
    assert not results.exists()
    refused(lab.client.get(f"/api_3/build/{build}"), 404, "Build 1 does not exist.")
    assert lab.submit() == 3


@pytest.mark.parametrize("broken", [False, True])
def test_a_succeeded_build_is_unlisted_before_its_files_go(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    lab.project()
    repo = lab.config.destdir / f"admin/hello/{FEDORA}"
    seen: list[object] = []
    for build in (lab.submit(chroots=[FEDORA]), lab.submit(chroots=[FEDORA])):
        lab.source_done(build)
        lab.report(build, FEDORA, status=1)
        (repo / f"{build:08d}-hello").mkdir(parents=True)
        (repo / f"{build:08d}-hello/success").touch()

    def withdraw(where: Path, without: list[str], **_: object) -> None:
        seen.append((where, [(where / name).exists() for name in without]))
        if broken:
            raise InfrastructureError("no space")

    monkeypatch.setattr(housekeeping, "withdraw", withdraw)
    assert lab.api("DELETE", "/build/delete/list", {"builds": [1, 2]}).status_code == 200
    assert seen == [(repo, [True, True])], "one publish for both, while the files are there"
    assert [path.is_dir() for path in (repo / "00000001-hello", repo / "00000002-hello")] == [
        broken,
        broken,
    ]


def test_delete_project(lab: Lab, tmp_path: Path) -> None:
    lab.project()
    build = lab.submit()
    own = lab.config.destdir / "admin"
    precious = tmp_path / "precious"
    precious.mkdir()
    for name in ("hello", "hello:pr:7", "hello2"):
        (own / name).mkdir(parents=True)
    (own / "hello:link").symlink_to(precious)
    delete = ("DELETE", "/project/delete/admin/hello", {"verify": True})
    refused(lab.api(*delete), 409, "copr-cli cancel 1")
    lab.api("PUT", f"/build/cancel/{build}")
    lab.back(f"build-tasks/canceled/{build}", True)
    assert lab.api(*delete).json()["name"] == "hello"
    assert [entry.name for entry in own.iterdir()] == ["hello2"]
    assert precious.is_dir()
    refused(lab.api(*delete), 404, "Project admin/hello does not exist.")
    assert lab.project()["id"] == 2


@pytest.mark.parametrize("what", ["build", "project"])
def test_a_frontend_that_is_killed_while_it_deletes_leaves_that_to_the_backend(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    lab.project()
    build = lab.submit(chroots=[FEDORA])
    lab.source_done(build)
    lab.report(build, FEDORA, status=1)
    for pending in lab.back("pending-actions"):
        lab.back("update", {"actions": [{"id": pending["id"], "result": 1}]})
    with monkeypatch.context() as patch:
        for name in ("remove_builds", "remove_project"):
            patch.setattr(housekeeping, name, lambda *_: None)
        if what == "build":
            lab.api("DELETE", "/build/delete/list", {"builds": [build]})
        else:
            lab.api("DELETE", "/project/delete/admin/hello", {"verify": True})
    (pending,) = lab.back("pending-actions")
    record = lab.back(f"action/{pending['id']}")
    data = json.loads(record["data"])
    assert (record["action_type"], data["ownername"]) == (0, "admin")
    if what == "build":
        dirs = {FEDORA: ["00000001-hello"], "srpm-builds": ["00000001"]}
        assert data["project_dirnames"] == {"hello": dirs}
        return
    assert data["project_dirnames"] == ["hello"]
    again = lab.api("POST", "/project/add/admin", {"name": "hello"})
    assert again.status_code == 409
    lab.back("update", {"actions": [{"id": pending["id"], "result": 1}]})
    assert lab.api("POST", "/project/add/admin", {"name": "hello"}).status_code == 200


def test_what_was_removed_at_once_is_no_action(lab: Lab) -> None:
    lab.project()
    build = lab.submit(chroots=[FEDORA])
    lab.source_done(build)
    lab.report(build, FEDORA, status=1)
    before = lab.back("pending-actions")
    lab.api("DELETE", "/build/delete/list", {"builds": [build]})
    assert lab.back("pending-actions") == before
    lab.api("DELETE", "/project/delete/admin/hello", {"verify": True})
    assert lab.back("pending-actions") == []
