"""Chroots of projects and what their builds are given, by the unmodified copr-cli."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.coprcli import Server, running
from tests.integration.records import DEBIAN, FEDORA, created, record

pytestmark = pytest.mark.coprcli


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        yield server


def test_chroot_settings_reach_the_task(server: Server) -> None:
    server.cli("create", "hello", "--chroot", FEDORA, "--chroot", DEBIAN)
    where = f"hello/{FEDORA}"
    server.cli("edit-chroot", where, "--packages", "gcc make", "--repos", "http://x/$chroot/",
               "--modules", "perl:5.30,!ruby:2", "--rpmbuild-with", "tests",
               "--rpmbuild-without", "docs", "--isolation", "nspawn",
               "--bootstrap", "on")  # fmt: skip
    shown = json.loads(server.cli("get-chroot", where, "--output-format", "json"))
    assert shown["additional_packages"] == ["gcc", "make"]
    assert (shown["with_opts"], shown["without_opts"]) == (["tests"], ["docs"])
    assert shown["isolation"] == "nspawn"
    config = server.cli("mock-config", "hello", FEDORA)
    assert "http://x/" in config
    number = created(server.cli("build", "--nowait", "hello", "http://x/h.src.rpm",
                                "--timeout", "1234", "--background"))  # fmt: skip
    server.report(number, None, 1, pkg_name="hello", pkg_version="1-1", srpm_url="http://x/h")
    task = record(server, "build", f"{number}-{FEDORA}")
    assert task["buildroot_pkgs"] == ["gcc", "make"]
    assert (task["with_opts"], task["without_opts"]) == (["tests"], ["docs"])
    assert task["modules"] == {"toggle": [{"enable": "perl:5.30"}, {"disable": "ruby:2"}]}
    assert (task["isolation"], task["bootstrap"]) == ("nspawn", "on")
    assert (task["timeout"], task["background"]) == (1234, True)
    assert f"http://x/{FEDORA}/" in [repo["baseurl"] for repo in task["repos"]]
    other = record(server, "build", f"{number}-{DEBIAN}")
    assert (other["buildroot_pkgs"], other["isolation"]) == ([], "default")
    assert "bootstrap" not in other
    assert "modules" not in other
    server.cli("edit-chroot", where, "--reset", "additional_packages", "--reset", "isolation")
    shown = json.loads(server.cli("get-chroot", where, "--output-format", "json"))
    assert (shown["additional_packages"], shown["isolation"]) == ([], "unchanged")
    assert shown["with_opts"] == ["tests"]
    assert "No mock chroot" in server.cli("get-chroot", "hello/fedora-1-x86_64", code=1)


def test_stored_values_do_no_harm_in_the_file_of_mock_config(server: Server) -> None:
    """As if they had been entered before quotes were refused."""
    server.cli("create", "hello", "--chroot", FEDORA)
    usual = mock_config(server)
    bad = ["'+evil()+'", '""" + evil() + """', "x\\", "a\nb", "{{evil()}}", 'x"y']
    chroot = {
        "additional_packages": ["gcc", *bad],
        "additional_repos": ["http://x/good/", *(f"http://x/{word}" for word in bad)],
        "with_opts": bad,
        "bootstrap": "custom_image",
        "bootstrap_image": '"+evil()+"',
        "isolation": "'+evil()+'",
    }
    project = {"additional_repos": [f"https://y/{word}" for word in bad]}
    with closing(sqlite3.connect(server.config.statedir / "frontend.sqlite")) as database, database:
        database.execute(
            "UPDATE project SET settings = ?, chroot_settings = ?",
            (json.dumps(project), json.dumps({FEDORA: chroot})),
        )
    found = mock_config(server)
    assert found.pop("chroot_additional_packages") == "gcc"
    repos = found.pop("dnf.conf")
    assert repos.startswith(usual.pop("dnf.conf").rstrip())
    assert re.findall("^baseurl=(?!http://127)(.*)", repos, re.MULTILINE) == ["http://x/good/"]
    assert found == {key: usual[key] for key in usual if key != "isolation"}
    where = {"ownername": "admin", "projectname": "hello", "chrootname": FEDORA}
    reply = server.http.get("/api_3/project-chroot/build-config", params=where).json()
    assert set(reply["left_out"]) == {"repos", *chroot} - {"bootstrap"}
    assert "evil" not in json.dumps(reply)


def mock_config(server: Server) -> dict[str, str]:
    """What mock reads from the file that copr-cli prints."""
    options = {"dnf.conf": ""}
    text = server.cli("mock-config", "hello", FEDORA)
    exec(text, {"__builtins__": {}, "include": lambda _: None, "config_opts": options})
    return options


def test_comps_are_handed_to_the_backend(server: Server, tmp_path: Path) -> None:
    server.cli("create", "hello", "--chroot", FEDORA)
    comps = tmp_path / "comps.xml"
    comps.write_text("<comps/>")
    server.cli("edit-chroot", f"hello/{FEDORA}", "--upload-comps", str(comps))
    waiting = server.http.get("/backend/pending-actions/").json()
    action = server.http.get(f"/backend/action/{waiting[-1]['id']}/").json()
    data = json.loads(action["data"])
    assert (action["action_type"], data["comps_present"]) == (4, True)
    assert server.http.get(data["url_path"]).text == "<comps/>"
    server.cli("edit-chroot", f"hello/{FEDORA}", "--delete-comps")
    assert server.http.get(data["url_path"]).status_code == 404
