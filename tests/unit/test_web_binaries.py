"""Binary packages that are published as they are (`copr-cli uploadrpm`): what the frontend makes
of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.web.setup import first_start
from tests.unit.test_builder_rpmheader import package
from tests.unit.test_web_lab import CHROOTS, Lab, running_lab
from tests.unit.test_web_pages import log_in

FEDORA, DEBIAN = CHROOTS
I386 = "fedora-41-i386"
NAME = "hello-1.0-2.noarch.rpm"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path, (*CHROOTS, I386), web__max_upload="4096") as made:
        made.project(chroots=[FEDORA, DEBIAN, I386])
        yield made


def send(lab: Lab, data: bytes, name: str = NAME, **options: Any) -> httpx.Response:
    fields = {"ownername": "admin", "projectname": "hello", **options}
    files = {
        "pkgs": (name, data, "application/x-rpm"),
        "json": ("json", json.dumps(fields).encode(), "application/json"),
    }
    return lab.api("POST", "/build/create/rpm-upload", files=files)


def sent(lab: Lab, data: bytes = b"", **options: Any) -> int:
    reply = send(lab, data or package(), **options)
    assert reply.status_code == 200, reply.text
    return int(reply.json()["id"])


def stored(lab: Lab) -> list[str]:
    return [path.name for path in (lab.config.statedir / "uploads").glob("*/*")]


def test_a_package_for_every_architecture(lab: Lab) -> None:
    data = package()
    reply = send(lab, data, "my own.rpm").json()
    assert (reply["state"], reply["chroots"]) == ("pending", sorted((FEDORA, DEBIAN, I386)))
    assert reply["source_package"] == {"name": "hello", "version": "1.0-2", "url": None}
    tasks = [f"1-{chroot}" for chroot in sorted((FEDORA, DEBIAN, I386))]
    assert lab.tasks() == tasks
    assert lab.wakes == [" ".join(["new", *tasks])]
    assert lab.client.get("/api_3/build/source-chroot/1").json()["state"] == "skipped"
    listed = lab.client.get("/api_3/package/list?ownername=admin&projectname=hello").json()
    assert [item["name"] for item in listed["items"]] == ["hello"]
    record = lab.back(f"get-build-task/1-{FEDORA}")
    assert (record["package_name"], record["package_version"]) == ("hello", "1.0-2")
    assert (record["srpm_url"], record["rpm_url"].rpartition("/")[2]) == (None, NAME)
    path = record["rpm_url"].removeprefix(lab.config.frontend_url)
    assert lab.client.get(path).content == data


def test_the_upload_stays_until_the_last_chroot_has_it(lab: Lab) -> None:
    build = sent(lab)
    for chroot in (FEDORA, DEBIAN):
        lab.report(build, chroot, status=1)
        assert stored(lab) == [NAME]
    assert lab.state(build) == "pending"
    first_start(lab.config)
    assert stored(lab) == [NAME], "a restart removes what no build needs"
    lab.report(build, I386, status=0, failure="x")
    assert (lab.state(build), stored(lab)) == ("failed", [])


def test_a_canceled_upload_is_removed_when_the_backend_has_stopped(lab: Lab) -> None:
    build = sent(lab)
    lab.report(build, FEDORA, status=3)
    lab.api("PUT", f"/build/cancel/{build}")
    for task in (build, f"{build}-{DEBIAN}", f"{build}-{I386}"):
        lab.back(f"build-tasks/canceled/{task}", True)
    assert stored(lab) == [NAME]
    lab.back(f"build-tasks/canceled/{build}-{FEDORA}", True)
    assert (lab.state(build), stored(lab)) == ("canceled", [])


def test_an_upload_for_a_chroot_that_is_gone_is_removed(lab: Lab) -> None:
    build = sent(lab, chroots=[FEDORA])
    body = {"chroots": [DEBIAN]}
    assert lab.api("POST", "/project/edit/admin/hello", body).status_code == 200
    task = {"build_id": build, "task_id": f"{build}-{FEDORA}", "chroot": FEDORA, "status": 6}
    assert lab.back("starting_build", {**task, "want_task": True}) == {"can_start": False}
    assert (lab.state(build), stored(lab)) == ("failed", [])


@pytest.mark.parametrize(
    ("arch", "options", "chroots"),
    [
        (b"x86_64\0", {}, [DEBIAN, FEDORA]),
        (b"i686\0\0\0", {}, [I386]),
        (b"i386\0\0\0", {}, [I386]),
        (b"x86_64\0", {"exclude_chroots": [DEBIAN]}, [FEDORA]),
        (b"x86_64\0", {"chroots": [DEBIAN, I386]}, [DEBIAN]),
        (b"noarch\0", {"chroots": [DEBIAN]}, [DEBIAN]),
    ],
)
def test_a_package_goes_where_its_architecture_is_wanted(
    lab: Lab, arch: bytes, options: dict[str, Any], chroots: list[str]
) -> None:
    build = sent(lab, package(arch=arch), **options)
    assert sorted(lab.chroot_states(build)) == chroots


def lead(kind: bytes) -> bytes:
    return package()[:6] + kind + package()[8:]


SOURCE = (1106, 4, 1, b"\0\0\0\1")


@pytest.mark.parametrize(
    ("data", "name", "options", "status", "text"),
    [
        (package(), "a-1.src.rpm", {}, 400, "is no binary package: send a file named *.rpm, not"),
        (package(), "a-1.nosrc.rpm", {}, 400, "is no binary package"),
        (package(), "a-1.noarch", {}, 400, "is no binary package"),
        (lead(b"\0\1"), NAME, {}, 400, "is a source RPM: copr-cli build takes it"),
        (package(more=[SOURCE]), NAME, {}, 400, "it is a source package: copr-cli build"),
        (b"#!/bin/sh\n" * 30, NAME, {}, 400, "is no RPM: its first bytes are wrong"),
        (b"", NAME, {}, 400, "is no binary package: it is empty or cut off"),
        (package()[:150], NAME, {}, 400, f"{NAME} is refused: truncated"),
        (package()[:98], NAME, {}, 400, f"{NAME} is refused: "),
        (package(name=b"a/../../b\0"), NAME, {}, 400, "no usual name"),
        (package(name=b"x" * 101 + b"\0"), NAME, {}, 400, "longer than 100 characters"),
        (package(name=b"\0"), NAME, {}, 400, "no usual name"),
        (package() + bytes(4096), NAME, {}, 413, "limit of 4096 bytes"),
        (package(arch=b"s390x\0\0"), NAME, {}, 400,
         f"is for s390x, which none of these chroots takes: {FEDORA}, {DEBIAN}, {I386}"),
        (package(arch=b"i686\0\0\0"), NAME, {"chroots": [FEDORA]}, 400,
         f"is for i686, which none of these chroots takes: {FEDORA}"),
        (package(), NAME, {"exclude_chroots": [FEDORA, DEBIAN, I386]}, 400, "there is none"),
        (package(), NAME, {"projectname": "other"}, 404, "Project admin/other does not exist."),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_nothing(
    lab: Lab, data: bytes, name: str, options: dict[str, Any], status: int, text: str
) -> None:
    reply = send(lab, data, name, **options)
    assert (reply.status_code, text in reply.json()["error"]) == (status, True), reply.text
    assert (stored(lab), lab.tasks()) == ([], [])
    assert not list((lab.config.statedir / "uploads").glob("*"))


def test_a_package_waits_for_the_batch_before_it(lab: Lab) -> None:
    first = lab.submit()
    build = sent(lab, chroots=[FEDORA], after_build_id=first, background=True)
    assert lab.tasks() == [str(first)]
    lab.report(first, status=0, failure="x")
    assert lab.tasks() == [f"{build}-{FEDORA}"]
    assert lab.client.get(f"/api_3/build/{build}").json()["is_background"] is True


def test_the_copy_of_a_build_does_not_own_the_upload(lab: Lab) -> None:
    build = sent(lab)
    lab.report(build, FEDORA, status=1)
    copied = lab.api("POST", "/project/fork/admin/hello", {"name": "copy", "ownername": "admin"})
    assert copied.status_code == 200, copied.text
    assert lab.chroot_states(build + 1) == {FEDORA: "forked"}
    reply = lab.api("POST", f"/build/delete/{build + 1}")
    assert (reply.status_code, stored(lab)) == (200, [NAME]), reply.text


def test_its_page_has_no_source_step_and_offers_no_build(lab: Lab) -> None:
    headers, token = log_in(lab)
    build = sent(lab, chroots=[FEDORA])
    page = lab.client.get(f"/coprs/build/{build}", headers=headers).text
    assert f'<dt>Uploaded package</dt><dd class="long">{NAME}, not built here</dd>' in page
    assert f'id="task-{FEDORA}"' in page
    assert "source package" not in page
    lab.report(build, FEDORA, status=1)
    page = lab.client.get(f"/coprs/build/{build}", headers=headers).text
    assert "succeeded" in page
    assert "Build again" not in page
    where = f"/coprs/build/{build}/resubmit"
    reply = lab.client.post(where, data={"form_token": token}, headers=headers)
    assert (reply.status_code, "upload it again (copr-cli uploadrpm)" in reply.text) == (409, True)


def test_its_package_cannot_be_built_by_name(lab: Lab) -> None:
    sent(lab)
    body = {"ownername": "admin", "projectname": "hello", "package_name": "hello"}
    reply = lab.api("POST", "/package/build", body)
    assert (reply.status_code, "Unset default source" in reply.json()["error"]) == (400, True)
