"""API v3: shapes, refusals in its envelope, the first start."""

import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.exceptions import CoprBackendError
from backend.web.setup import first_start
from tests.unit.test_web_lab import CHROOTS, Lab, make_config, refused, running_lab, token_of

FEDORA, DEBIAN = CHROOTS


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path, web__max_upload="4096") as lab:
        yield lab


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
