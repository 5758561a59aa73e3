"""A script of every copr-cli command, run by the unmodified client: outputs and exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.constants import ActionType
from tests.integration.coprcli import Server, running
from tests.integration.records import DEBIAN, FEDORA, created, record
from tests.integration.test_web_library import new_user
from tests.unit.test_builder_rpmheader import package
from tests.unit.test_web_lab import CHROOTS

pytestmark = pytest.mark.coprcli


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        yield server


def source_of(server: Server, build: int) -> dict[str, Any]:
    found = record(server, "srpm-build", str(build))
    source: dict[str, Any] = json.loads(found["source_json"]) | {"type#": found["source_type"]}
    return source


def test_projects_and_their_settings(server: Server) -> None:
    server.cli("create", "hello", "--chroot", FEDORA, "--repo", "http://x/extra/",
               "--enable-net", "on", "--unlisted-on-hp", "on", "--isolation", "simple",
               "--bootstrap", "off", "--delete-after-days", "30", "--multilib", "on",
               "--module-hotfixes", "on", "--fedora-review", "--appstream", "on",
               "--runtime-repo-dependency", "copr://admin/other", "--repo-priority", "7",
               "--auto-prune", "off")  # fmt: skip
    shown = server.cli("get", "hello")
    assert "http://x/extra/" in shown
    assert FEDORA in shown
    server.cli("modify", "hello", "--description", "words", "--chroot", FEDORA, "--chroot", DEBIAN,
               "--disable_createrepo", "true", "--repo", "http://x/other/")  # fmt: skip
    project = server.http.get("/api_3/project?ownername=admin&projectname=hello").json()
    assert project["devel_mode"] is True
    assert project["additional_repos"] == ["http://x/other/"]
    assert (project["isolation"], project["repo_priority"]) == ("simple", 7)
    refused = server.cli("create", "x", "--chroot", FEDORA, "--storage", "pulp", code=1)
    assert "storage: results are kept on disk here" in refused
    server.cli("create", "stone", "--chroot", FEDORA, "--persistent")
    assert "persistent" in server.cli("delete", "stone", code=1)
    assert "Submitted action to regenerate" in server.cli("regenerate-repos", "hello")
    assert "hello" in server.cli("list")
    assert "does not exist" in server.cli("get", "nothing", code=1)
    assert "does not exist" in server.cli("modify", "nothing", "--description", "x", code=1)


def test_builds_of_every_source(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho hi\n")
    server.cli("create", "hello", "--chroot", FEDORA, "--chroot", DEBIAN)
    for more, source in (
        (["build", "hello", "http://x/h.spec"], {"type#": 1, "url": "http://x/h.spec"}),
        (
            ["buildscm", "hello", "--clone-url", "https://x/y.git", "--commit", "main",
             "--subdir", "s", "--spec", "x.spec", "--method", "tito"],
            {"type#": 8, "type": "git", "clone_url": "https://x/y.git", "committish": "main",
             "subdirectory": "s", "spec": "x.spec", "srpm_build_method": "tito"},
        ),
        (
            ["buildpypi", "hello", "--packagename", "requests"],
            {"type#": 5, "pypi_package_name": "requests", "pypi_package_version": None,
             "spec_generator": "pyp2spec", "spec_template": "", "python_versions": ["3", "2"]},
        ),
        (["buildgem", "hello", "--gem", "rake"], {"type#": 6, "gem_name": "rake"}),
        (
            ["buildcustom", "hello", "--script", str(script), "--script-chroot", FEDORA,
             "--script-builddeps", "git", "--script-resultdir", "out",
             "--script-repos", "copr://admin/hello"],
            {"type#": 9, "script": "#!/bin/sh\necho hi\n", "chroot": FEDORA, "builddeps": "git",
             "resultdir": "out", "repos": "copr://admin/hello"},
        ),
        (
            ["build-distgit", "hello", "--name", "bash", "--commit", "f41"],
            {"type#": 10, "clone_url": "https://src.fedoraproject.org/rpms/bash.git",
             "distgit": "fedora", "committish": "f41"},
        ),
    ):  # fmt: skip
        number = created(server.cli(*more[:1], "--nowait", *more[1:]))
        assert source_of(server, number) == source
    custom = record(server, "srpm-build", "5")
    assert custom["chroot"] == FEDORA
    assert custom["repos"][0]["baseurl"].endswith(f"/results/admin/hello/{FEDORA}/")
    refused = server.cli("buildscm", "--nowait", "hello", "--clone-url", "file:///etc", code=1)
    assert "clone_url" in refused


def test_builds_of_a_batch_wait_for_the_batch_before(server: Server) -> None:
    server.cli("create", "hello", "--chroot", FEDORA)

    def build(*more: str, code: int = 0) -> str:
        return server.cli("build", "--nowait", "hello", "http://x/h.src.rpm", *more, code=code)

    first = created(build())
    beside = created(build("--with-build-id", str(first)))
    after = created(build("--after-build-id", str(first)))

    def offered() -> list[str]:
        return [task["task_id"] for task in server.http.get("/backend/pending-jobs/").json()]

    assert offered() == [str(first), str(beside)]
    waiting = server.http.get(f"/api_3/build/{after}").json()["waiting"]
    assert f"builds {first}, {beside}" in waiting[str(after)]
    assert "pending" in server.cli("status", str(after))
    server.report(first, None, 0)
    assert offered() == [str(beside)]
    server.cli("cancel", str(beside))
    assert offered() == [str(after)]
    assert "does not exist" in build("--after-build-id", "99", code=1)
    assert "finished" in build("--with-build-id", str(first), code=1)


def test_packages(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    server.cli("create", "hello", "--chroot", FEDORA, "--chroot", DEBIAN)
    done = "Create or edit operation was successful."
    for what, more in {
        "scm": ["--clone-url", "https://x/y.git"],
        "pypi": ["--packagename", "requests"],
        "rubygems": ["--gem", "rake"],
        "custom": ["--script", str(script)],
        "distgit": [],
    }.items():
        name = ["hello", "--name", f"my-{what}"]
        assert done in server.cli(f"add-package-{what}", *name, *more)
        assert "already exists" in server.cli(f"add-package-{what}", *name, *more, code=1)
        assert done in server.cli(f"edit-package-{what}", *name, *more, "--timeout", "77",
                                  "--chroot-denylist", "debian-*",
                                  "--webhook-rebuild", "on")  # fmt: skip
    names = server.cli("list-package-names", "hello").split()
    assert names == [f"my-{w}" for w in ("scm", "pypi", "rubygems", "custom", "distgit")]
    shown = json.loads(server.cli("get-package", "hello", "--name", "my-scm",
                                  "--output-format", "json"))  # fmt: skip
    assert (shown["source_type"], shown["auto_rebuild"]) == ("scm", True)
    assert shown["source_dict"]["source_build_method"] == "rpkg"
    number = created(server.cli("build-package", "--nowait", "hello", "--name", "my-scm"))
    assert source_of(server, number)["clone_url"] == "https://x/y.git"
    server.report(number, None, 1, pkg_name="my-scm", pkg_version="1-1", srpm_url="http://x/h")
    assert server.http.get(f"/api_3/build/{number}").json()["chroots"] == [FEDORA]
    assert record(server, "build", f"{number}-{FEDORA}")["timeout"] == 77
    server.cli("reset-package", "hello", "--name", "my-scm")
    refused = server.cli("build-package", "--nowait", "hello", "--name", "my-scm", code=1)
    assert "Unset default source" in refused
    server.cli("cancel", str(number))
    server.cli("delete-package", "hello", "--name", "my-pypi")
    assert "No package with name" in server.cli("get-package", "hello", "--name", "my-pypi", code=1)
    assert "my-scm" in server.cli("list-packages", "hello", "--with-latest-build")


def test_fork_and_delete(server: Server) -> None:
    server.cli("create", "hello", "--chroot", FEDORA, "--chroot", DEBIAN)
    server.cli("build", "--nowait", "hello", "http://x/h.src.rpm")
    server.build(1, 1)
    assert "Forking project admin/hello for you" in server.cli("fork", "hello", "copy")
    assert "--confirm" in server.cli("fork", "hello", "copy", code=1)
    assert "Updating packages in admin/copy" in server.cli("fork", "--confirm", "hello", "copy")
    assert "forked" in server.cli("status", "2")
    action = next(
        found
        for entry in server.http.get("/backend/pending-actions/").json()
        if (found := server.http.get(f"/backend/action/{entry['id']}/").json())["action_type"] == 7
    )
    assert (action["old_value"], action["new_value"]) == ("admin/hello", "admin/copy")
    builds = json.loads(action["data"])["builds_map"]
    assert builds == {
        FEDORA: {"00000001-hello": "00000002-hello"},
        DEBIAN: {"00000001-hello": "00000002-hello"},
        "srpm-builds": {"00000001": "00000002"},
    }
    assert FEDORA in server.cli("monitor", "copy")
    server.cli("delete", "copy")
    waiting = server.http.get("/backend/pending-actions/").json()
    actions = [server.http.get(f"/backend/action/{e['id']}/").json() for e in waiting]
    left = {action["action_type"] for action in actions if action["copr_id"] == 2}
    assert left <= {int(ActionType.DELETE)}  # of what is deleted only the copies are removed


def test_permissions(server: Server) -> None:
    server.cli("create", "hello", "--chroot", FEDORA)
    assert "No permissions set" in server.cli("list-permissions", "hello", code=1)
    assert "No such user" in server.cli("edit-permissions", "hello", "--admin", "no", code=1)
    assert "neither" in server.cli("edit-permissions", "hello", code=2)
    assert "owner" in server.cli("request-permissions", "hello", "--builder", code=1)
    new_user(server, "jdoe")
    done = server.cli("edit-permissions", "hello", "--builder", "jdoe", "--admin", "jdoe=request")
    assert done == "success\n"
    shown = server.cli("list-permissions", "hello")
    assert sorted(shown.splitlines()) == ["  admin: request", "  builder: approved", "jdoe:"]


def test_what_is_printed_of_builds(server: Server) -> None:
    server.cli("create", "hello", "--chroot", FEDORA, "--chroot", DEBIAN)
    number = created(server.cli("build", "--nowait", "hello:pr:1", "http://x/h.src.rpm",
                                "--exclude-chroot", DEBIAN, "--isolation", "simple",
                                "--enable-net", "on", "--bootstrap", "off"))  # fmt: skip
    server.report(number, None, 1, pkg_name="hello", pkg_version="1-1", srpm_url="http://x/h")
    task = record(server, "build", f"{number}-{FEDORA}")
    assert (task["isolation"], task["enable_net"], task["bootstrap"]) == ("simple", True, "off")
    server.report(number, FEDORA, 1)
    assert "1\thello\tsucceeded" in server.cli("list-builds", "hello")
    listed = server.cli("list-builds", "hello", "--output-format", "json")
    assert json.loads(listed) == [{"id": 1, "name": "hello", "state": "succeeded"}]
    assert server.cli("monitor", "hello", "--output-format", "json") == ""
    fields = "chroot,url_build,url_build_log"
    shown = json.loads(server.cli("monitor", "hello", "--dirname", "hello:pr:1",
                                  "--output-format", "json", "--fields", fields))  # fmt: skip
    base = server.config.listen_url
    assert shown == [{
        "chroot": FEDORA,
        "url_build": f"{base}/coprs/build/1",
        "url_build_log":
            f"{base}/results/admin/hello:pr:1/{FEDORA}/00000001-hello/builder-live.log.gz",
    }]  # fmt: skip
    assert "exist" in server.cli("monitor", "hello", "--dirname", "hello:no", code=1)
    package = json.loads(server.cli("get-package", "hello", "--name", "hello"))
    assert package["latest_build"]["id"] == package["latest_succeeded_build"]["id"] == 1
    (package,) = json.loads(server.cli("list-packages", "hello", "--with-all-builds",
                                       "--output-format", "json"))  # fmt: skip
    assert [build["id"] for build in package["builds"]] == [1]
    assert (package["latest_build"], package["source_type"]) == (None, "link")


def test_a_new_token_replaces_the_old_one(server: Server) -> None:
    config = server.config.web_cli_config
    before = config.read_text()
    assert "New API token was updated" in server.cli("new-api-token")
    assert config.read_text() != before
    server.cli("create", "hello", "--chroot", FEDORA)
    config.write_text(before)
    assert "Login invalid/expired" in server.cli("create", "other", "--chroot", FEDORA, code=1)


def test_a_new_webhook_secret(server: Server) -> None:
    server.cli("create", "hello", "--chroot", FEDORA)
    shown = server.cli("new-webhook-secret", "hello", answer="y\n")
    secret = shown.rpartition("Generated new token: ")[2].strip()
    server.cli("add-package-scm", "hello", "--name", "tools", "--clone-url", "https://h/x.git")
    reply = server.http.post(f"/webhooks/custom/1/{secret}/tools/")
    assert (reply.status_code, reply.text) == (200, "1\n")
    assert "does not exist" in server.cli("new-webhook-secret", "no", answer="y\n", code=1)


def test_a_package_that_was_built_elsewhere(server: Server, tmp_path: Path) -> None:
    """What a daemon makes of it: `test_uploadrpm.py`."""
    rpm = tmp_path / "hello-1.0-2.noarch.rpm"
    rpm.write_bytes(package())
    server.cli("create", "hello", "--chroot", FEDORA, "--chroot", DEBIAN)
    build = created(server.cli("uploadrpm", "--nowait", "--background", "hello:new", str(rpm)))
    task = record(server, "build", f"{build}-{DEBIAN}")
    assert (task["project_dirname"], task["background"]) == ("hello:new", True)
    assert server.http.get(task["rpm_url"]).content == rpm.read_bytes()
    assert "pending" in server.cli("status", str(build))
    for chroot in CHROOTS:
        server.report(build, chroot, 1)
    assert "succeeded" in server.cli("watch-build", str(build))
