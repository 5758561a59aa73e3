"""Webhooks that ask for builds: pushes to repositories, and custom ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.constants import Status
from backend.web import pushes
from backend.web.setup import first_start
from tests.unit.hookbench import FEDORA, Bench, running_bench
from tests.unit.test_web_lab import Lab, running_lab


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with running_bench(tmp_path, monkeypatch) as made:
        yield made


CLONE = "https://github.com/jdoe/Tools.git"


def package(lab: Lab, name: str = "tools", **more: object) -> None:
    body = {"clone_url": CLONE, "webhook_rebuild": True, **more}
    reply = lab.api("POST", f"/package/add/admin/hello/{name}/scm", body)
    assert reply.status_code == 200, reply.text


def key(lab: Lab) -> str:
    reply = lab.api("POST", "/webhook/generate/admin/hello")
    assert reply.status_code == 200
    return f"1/{reply.json()['webhook_secret']}"


def github(**more: object) -> dict[str, Any]:
    commit = {"added": [], "modified": ["sub/a.c"], "removed": []}
    payload = {
        "ref": "refs/heads/main",
        "after": "abcdef1234",
        "repository": {"clone_url": CLONE},
        "commits": [commit],
    }
    return payload | more


def hook(lab: Lab, path: str, payload: object = None, **headers: str) -> httpx.Response:
    return lab.client.post(f"/webhooks/{path}", json=payload, headers=headers)


def sources(lab: Lab) -> list[tuple[str, str]]:
    items = lab.client.get("/api_3/build/list?ownername=admin&projectname=hello").json()["items"]
    found = []
    for item in items:
        config = lab.client.get(f"/api_3/build/source-build-config/{item['id']}").json()
        found.append((item["source_package"]["name"], config["source_json"].get("committish", "")))
    return found


def test_a_push_builds_the_packages_that_it_concerns(bench: Bench) -> None:
    lab = bench.lab
    package(lab)
    package(lab, "sub", subdirectory="sub")
    package(lab, "elsewhere", subdirectory="su")
    package(lab, "branch", committish="stable")
    package(lab, "quiet", webhook_rebuild=False)
    package(lab, "foreign", clone_url="https://github.com/jdoe/tools2.git")
    where = key(lab)
    assert hook(lab, f"github/{where}/", github()).text == "OK\n"
    assert sources(lab) == [("tools", "abcdef1234"), ("sub", "abcdef1234")]
    assert hook(lab, f"github/{where}/sub/", github(after="1234567")).status_code == 200
    assert sources(lab)[2:] == [("sub", "1234567")]
    hook(lab, f"github/{where}", github(ref="refs/heads/stable"))
    assert ("branch", "abcdef1234") in sources(lab)
    assert "through a webhook (github)" in lab.client.get("/coprs/build/1").text
    assert lab.tasks()[0] == "1"


def test_tags_of_other_packages_are_left_alone(bench: Bench) -> None:
    lab = bench.lab
    package(lab)
    where = key(lab)
    gitlab = {
        "object_kind": "tag_push",
        "ref": "refs/tags/other-1.0-1",
        "after": "a" * 40,
        "project": {"git_http_url": "https://github.com/jdoe/tools/"},
    }
    assert hook(lab, f"gitlab/{where}/", gitlab).status_code == 200
    assert sources(lab) == []
    for ref in ("tools-1.0-1", "v7"):
        hook(lab, f"gitlab/{where}/", gitlab | {"ref": f"refs/tags/{ref}"})
    assert sources(lab) == [("tools", "tools-1.0-1"), ("tools", "v7")]


def test_bitbucket_and_forms_are_understood(bench: Bench) -> None:
    lab = bench.lab
    package(lab)
    where = key(lab)
    new = {"type": "branch", "name": "main", "target": {"hash": "beef1234"}}
    bitbucket = {
        "repository": {"links": {"html": {"href": "https://github.com/jdoe/tools"}}},
        "push": {"changes": [{"new": new}]},
    }
    assert hook(lab, f"bitbucket/{where}/", bitbucket).status_code == 200
    form = {"payload": json.dumps(github())}
    assert lab.client.post(f"/webhooks/github/{where}/", data=form).status_code == 200
    assert sources(lab) == [("tools", "beef1234"), ("tools", "abcdef1234")]


def test_nothing_is_built_for_what_is_no_push(bench: Bench) -> None:
    lab = bench.lab
    package(lab)
    where = key(lab)
    ping: dict[str, str] = {"X-GitHub-Event": "ping"}
    assert hook(lab, f"github/{where}/", {"zen": "x"}, **ping).text == "OK\n"
    assert hook(lab, f"github/{where}/", github(deleted=True)).text == "OK\n"
    assert hook(lab, f"github/{where}/", {}).status_code == 400
    assert hook(lab, f"gitlab/{where}/", [1]).status_code == 400
    assert lab.client.post(f"/webhooks/github/{where}/", content=b"{").status_code == 400
    assert hook(lab, f"sourceforge/{where}/", {}).status_code == 404
    assert hook(lab, "github/1/wrong/", github()).status_code == 403
    assert hook(lab, "github/1/wrong/", github(), **ping).status_code == 403
    assert hook(lab, f"github/{where.replace('1/', '9/', 1)}/", github()).status_code == 404
    lab.project("second")  # has no addresses yet
    assert hook(lab, "github/2//", github()).status_code in (403, 404)
    assert sources(lab) == []


def test_a_new_secret_ends_the_old_addresses(bench: Bench) -> None:
    package(bench.lab)
    old = key(bench.lab)
    new = key(bench.lab)
    assert hook(bench.lab, f"custom/{old}/tools/").status_code == 403
    assert hook(bench.lab, f"custom/{new}/tools/").text == "1\n"


def test_a_custom_script_gets_what_the_webhook_was_sent(tmp_path: Path) -> None:
    with running_lab(tmp_path) as lab:
        lab.project(chroots=[FEDORA])
        body = {"script": "#!/bin/sh\ncat hook_payload"}
        assert lab.api("POST", "/package/add/admin/hello/tools/custom", body).status_code == 200
        where = key(lab)
        assert hook(lab, f"custom/{where}/nothing/", {}).status_code == 404
        sent = lab.client.post(f"/webhooks/custom/{where}/tools/", content=b"any\0thing")
        assert sent.text == "1\n"
        task = lab.back("get-srpm-build-task/1")
        source = json.loads(task["source_json"])
        assert source["hook_data"] is True
        kept = f"/tmp/{source['tmp']}/hook_payload"
        assert lab.client.get(kept).content == b"any\0thing"
        first_start(lab.config)  # a restart does not sweep it away
        assert lab.client.get(kept).status_code == 200
        lab.report(1, status=int(Status.FAILED), failure="x")
        assert lab.client.get(kept).status_code == 404
        where = where.partition("/")[2]
        sent = lab.client.post(f"/webhooks/custom-dir/admin/hello:pr:7/{where}/tools/")
        assert sent.text == "2\n"
        assert lab.client.get("/api_3/build/2").json()["project_dirname"] == "hello:pr:7"
        bad = lab.client.post(f"/webhooks/custom-dir/admin/hello:../{where}/tools/")
        assert bad.status_code in (400, 404)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("https://h/a/b", True),
        ("http://h/a/b.git/", True),
        ("git@h:a/b.git", True),
        ("ssh://git@h/a/b", True),
        ("https://token@h/a/b.git", True),
        ("https://h/a/b2", False),
        ("https://other/a/b", False),
    ],
)
def test_addresses_of_one_repository(one: str, same: bool) -> None:
    push = pushes.Push(clone_urls=(one,), ref="main", commit="abcdef1")
    assert pushes.concerns(push, "x", {"clone_url": "https://h/a/b.git"}) is same
