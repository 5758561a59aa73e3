"""API v3: shapes, refusals in its envelope, uploads, deleting."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.exceptions import CoprBackendError, InfrastructureError
from backend.web import housekeeping
from backend.web.setup import first_start
from tests.unit.test_web_lab import CHROOTS, SRPM, Lab, make_config, running_lab, token_of

FEDORA, DEBIAN = CHROOTS


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path, web__max_upload="4096") as lab:
        yield lab


def refused(reply: httpx.Response, status: int, text: str) -> None:
    assert reply.status_code == status, reply.text
    assert text in reply.json()["error"]


def test_project_has_exactly_the_keys_of_the_real_one(lab: Lab) -> None:
    project = lab.project(chroots=[FEDORA], description="words")
    assert project == {
        "name": "hello",
        "persistent": False,
        "additional_repos": [],
        "storage": "backend",
        "homepage": None,
        "contact": None,
        "description": "words",
        "instructions": "",
        "devel_mode": False,
        "unlisted_on_hp": False,
        "auto_prune": True,
        "enable_net": False,
        "bootstrap": "default",
        "isolation": "default",
        "module_hotfixes": False,
        "appstream": False,
        "packit_forge_projects_allowed": [],
        "follow_fedora_branching": True,
        "repo_priority": None,
        "id": 1,
        "ownername": "admin",
        "full_name": "admin/hello",
        "chroot_repos": {FEDORA: f"http://127.0.0.1:5000/results/admin/hello/{FEDORA}/"},
    }
    where = "?ownername=admin&projectname=hello"
    assert lab.client.get(f"/api_3/project{where}").json() == project
    assert lab.client.get("/api_3/project/list?ownername=admin").json()["items"] == [project]
    assert lab.client.get("/api_3/mock-chroots/list").json() == {FEDORA: "", DEBIAN: ""}
    assert lab.api("GET", "/auth-check").json() == {"name": "admin", "id": 1}
    conf = lab.client.get(f"/api_3/project-chroot{where}&chrootname={FEDORA}").json()
    assert conf["mock_chroot"] == FEDORA


def test_build_has_exactly_the_keys_of_the_real_one(lab: Lab) -> None:
    lab.project()
    lab.submit(project_dirname="hello:pr:7")
    build = lab.client.get("/api_3/build/1").json()
    assert isinstance(build.pop("submitted_on"), int)
    assert build == {
        "chroots": [],
        "ended_on": None,
        "id": 1,
        "is_background": False,
        "ownername": "admin",
        "project_dirname": "hello:pr:7",
        "projectname": "hello",
        "repo_url": "http://127.0.0.1:5000/results/admin/hello:pr:7",
        "started_on": None,
        "state": "pending",
        "submitter": "admin",
        "source_package": {"name": None, "url": "http://x/h.src.rpm", "version": None},
        "failure": None,
        "triage": None,
        "waiting": {},
    }


def test_lists_go_on_until_an_empty_page(lab: Lab) -> None:
    lab.project()
    for _ in range(3):
        lab.submit()
    seen, offset = [], 0
    while True:
        where = f"ownername=admin&projectname=hello&limit=2&offset={offset}"
        reply = lab.client.get(f"/api_3/build/list?{where}").json()
        assert reply["meta"] == {"limit": 2, "offset": offset, "order": "id", "order_type": "ASC"}
        if not reply["items"]:
            break
        seen += [item["id"] for item in reply["items"]]
        offset += 2
    assert seen == [1, 2, 3]


def test_monitor_and_packages(lab: Lab) -> None:
    lab.project()
    build = lab.submit(chroots=[FEDORA])
    lab.source_done(build)
    lab.report(build, FEDORA, status=1)
    where = "?ownername=admin&projectname=hello"
    assert lab.client.get(f"/api_3/monitor{where}").json()["packages"] == [
        {
            "name": "hello",
            "chroots": {
                FEDORA: {"state": "succeeded", "status": 1, "build_id": 1, "pkg_version": "2.8-1"}
            },
        }
    ]
    item = lab.client.get(f"/api_3/package/list{where}&with_latest_build=True").json()["items"][0]
    assert item["name"] == "hello"
    assert item["builds"]["latest"]["id"] == 1
    assert item["builds"]["latest_succeeded"] is None


def test_refusals_of_reading(lab: Lab) -> None:
    get = lab.client.get
    refused(get("/api_3/build/9"), 404, "Build 9 does not exist.")
    missing = get("/api_3/project?ownername=a&projectname=b")
    assert missing.json() == {"error": "Project a/b does not exist."}
    refused(get("/api_3/nonsense/"), 404, "Such API endpoint doesn't exist")
    refused(get("/api_3/project?ownername=a"), 400, "Missing argument projectname")
    refused(get("/api_3/build/xyz"), 404, "Such API endpoint")
    refused(get("/api_3/project/list?limit=-1"), 400, "limit")
    refused(lab.client.post("/api_3/auth-check"), 405, "POST")


def test_refusals_of_writing(lab: Lab) -> None:
    lab.project()
    denied = lab.client.post("/api_3/project/add/admin", json={"name": "x"}, auth=("a", "b"))
    assert denied.status_code == 401
    assert denied.json()["output"] == "notok"
    assert denied.json()["error"].startswith("Login invalid/expired. Please visit ")

    def add(owner: str = "admin", **body: object) -> httpx.Response:
        return lab.api("POST", f"/project/add/{owner}", body)

    refused(add(name="hello"), 400, "name: You already have a project named 'hello'.")
    refused(add("jdoe", name="hello"), 403, "admin")
    for name in ("..", "a/b", "<b>", "", "12", None, ".a", "a..b", 5):
        refused(add(name=name), 400, "name: ")
    refused(add(name="n", chroots=["fedora-42-x86_64"]), 400, "perhaps 'fedora-41-x86_64'?")
    refused(add(name="n", additional_repos=[5]), 400, "additional_repos")
    again = lab.api("POST", "/project/add/admin?exist_ok=True", {"name": "hello"})
    assert again.json()["id"] == 1

    def build(**body: object) -> httpx.Response:
        where = {"ownername": "admin", "projectname": "hello"}
        return lab.api("POST", "/build/create/url", where | body)

    refused(build(), 400, "pkgs: ")
    for url in (
        "file:///etc/x.src.rpm",
        "http:///x.src.rpm",
        "http://x/y.rpm",
        "http://x/y.tar.gz",
        "ftp://x/a.src.rpm",
    ):
        refused(build(pkgs=[url]), 400, "pkgs: ")
    good = ["http://x/y.src.rpm"]
    refused(build(pkgs=good, chroots=["nope"]), 400, "'nope' is not available in admin/hello")
    refused(build(pkgs=good, project_dirname="other:x"), 400, "project_dirname")
    refused(build(pkgs=good, timeout=-4), 400, "timeout")
    refused(build(pkgs=good, projectname="zzz"), 404, "Project admin/zzz does not exist.")


def test_upload_is_stored_and_served(lab: Lab) -> None:
    lab.project()
    build = lab.upload().json()
    url = build["source_package"]["url"]
    assert url.startswith("http://127.0.0.1:5000/tmp/")
    assert lab.client.get(url.removeprefix("http://127.0.0.1:5000")).content == SRPM
    task = lab.back("get-srpm-build-task/1")
    assert task["source_type"] == 2
    assert url in task["source_json"]
    lab.source_done(1, srpm_url=url)
    path = url.removeprefix("http://127.0.0.1:5000")
    assert lab.client.get(path).status_code == 200


def test_upload_of_a_canceled_build_is_removed_when_the_backend_has_stopped(lab: Lab) -> None:
    lab.project()
    build = lab.upload().json()["id"]
    lab.api("PUT", f"/build/cancel/{build}")
    lab.back(f"build-tasks/canceled/{build}", False)
    assert not list((lab.config.statedir / "uploads").iterdir())


def test_uploads_of_a_killed_process_are_removed_at_the_next_start(lab: Lab) -> None:
    lab.project()
    lab.upload()
    uploads = lab.config.statedir / "uploads"
    (wanted,) = uploads.iterdir()
    (uploads / "torn").mkdir()
    (uploads / "torn" / "half.src.rpm").write_bytes(b"half")
    first_start(lab.config)
    assert list(uploads.iterdir()) == [wanted]


def test_upload_that_nobody_needs_is_removed(lab: Lab) -> None:
    lab.project()
    lab.source_done(lab.upload().json()["id"])
    assert not list((lab.config.statedir / "uploads").iterdir())


@pytest.mark.parametrize(
    ("data", "name", "status", "text"),
    [
        (b"#!/bin/sh\n" * 9, "a-1.src.rpm", 400, "a-1.src.rpm is no RPM"),
        (SRPM[:7] + b"\0" + SRPM[8:], "a-1.src.rpm", 400, "binary RPM"),
        (SRPM, "a-1.x86_64.rpm", 400, "is no source package"),
        (SRPM, "../a-1.src.rpm", 400, "is no source package"),
        (b"", "a-1.src.rpm", 400, "empty or cut off"),
        (SRPM + bytes(4096), "a-1.src.rpm", 413, "limit of 4096 bytes"),
    ],
)
def test_refused_upload_leaves_nothing(
    lab: Lab, data: bytes, name: str, status: int, text: str
) -> None:
    lab.project()
    refused(lab.upload(data, name), status, text)
    uploads = lab.config.statedir / "uploads"
    assert not uploads.exists() or not list(uploads.iterdir())
    assert lab.tasks() == []


def test_upload_to_a_missing_project_leaves_nothing(lab: Lab) -> None:
    refused(lab.upload(), 404, "Project admin/hello does not exist.")
    assert not list((lab.config.statedir / "uploads").iterdir())


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


def test_edit_keeps_what_is_not_given(lab: Lab) -> None:
    lab.project(description="old", enable_net=True)
    body = {"description": None, "chroots": [DEBIAN], "repos": ["http://x/"], "enable_net": None}
    project = lab.api("PUT", "/project/edit/admin/hello", body).json()
    assert project["description"] == "old"
    assert list(project["chroot_repos"]) == [DEBIAN]
    assert project["additional_repos"] == ["http://x/"]
    assert project["enable_net"] is True


def test_first_start_is_repeatable_and_renews_a_lost_token(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    first_start(config)
    before = token_of(config)
    assert stat.S_IMODE(config.web_cli_config.stat().st_mode) == 0o600
    assert "encrypted = false" in config.web_cli_config.read_text()
    assert before[1].encode() not in (config.statedir / "frontend.sqlite").read_bytes()
    first_start(config)
    assert token_of(config) == before
    config.web_cli_config.unlink()
    first_start(config)
    assert token_of(config) != before


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a..b", "<b>"])
def test_first_start_refuses_a_user_name_that_is_no_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(CoprBackendError, match=r"web\.admin_user is "):
        first_start(make_config(tmp_path, web__admin_user=name))


def test_first_start_says_what_to_do_about_a_bad_directory(tmp_path: Path) -> None:
    (tmp_path / "statedir").write_text("in the way")
    with pytest.raises(CoprBackendError, match=r"statedir .* cannot be made: .* or set statedir"):
        first_start(make_config(tmp_path))


def test_an_upload_with_an_odd_name_is_kept_under_a_harmless_one(lab: Lab) -> None:
    lab.project()
    url = lab.upload(SRPM, "my päckage-%{ver}-1.src.rpm").json()["source_package"]["url"]
    assert url.rsplit("/", 1)[-1] == "my_p_ckage-__ver_-1.src.rpm"
    assert lab.client.get(url.removeprefix("http://127.0.0.1:5000")).content == SRPM


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


@pytest.mark.parametrize(
    ("field", "value"),
    [("pypi_package_name", [1]), ("gem_name", {}), ("script", 7), ("spec_generator", "x"),
     ("scm_type", "cvs"), ("python_versions", "3"), ("clone_url", "x" * 5000)],
)  # fmt: skip
def test_fields_of_other_sources_are_no_place_for_nonsense(
    lab: Lab, field: str, value: object
) -> None:
    lab.project()
    add = "/package/add/admin/hello/tools/distgit"
    refused = lab.api("POST", add, {field: value})
    assert (refused.status_code, field in refused.json()["error"]) == (400, True)
    assert lab.api("POST", add, {field: None, "gem_name": "rake"}).status_code == 200


def test_chroots_of_a_build_have_no_order_but_theirs(lab: Lab) -> None:
    lab.project()
    where = f"/build-chroot/list?build_id={lab.submit()}&order="
    assert lab.api("GET", f"{where}name").status_code == 200
    refused = lab.api("GET", f"{where}nonsense")
    assert (refused.status_code, refused.json()) == (
        400, {"error": "order: 'nonsense' is none of id, name"},
    )  # fmt: skip
