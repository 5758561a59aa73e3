"""The `/backend/` namespace: tasks, the state machine, cancels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.web.app import _harmless
from tests.conftest import wait_until
from tests.unit.test_web_lab import CHROOTS, PASSWORD, Lab, running_lab

FEDORA, DEBIAN = CHROOTS


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path) as lab:
        lab.project()
        yield lab


def test_a_build_from_submit_to_success(lab: Lab) -> None:
    build = lab.submit()
    wait_until(lambda: lab.wakes == ["new 1"])
    assert lab.back("pending-jobs") == [
        {
            "task_id": "1",
            "build_id": 1,
            "project_owner": "admin",
            "sandbox": "admin/hello--admin",
            "background": False,
            "chroot": None,
        }
    ]
    task = lab.back("get-srpm-build-task/1")
    assert task["source_json"] == '{"url": "http://x/h.src.rpm"}'
    assert task["source_type"] == 1
    assert task["distributions_in_project"] == ["debian-12", "fedora-41"]
    start = {"build_id": 1, "task_id": "1", "chroot": "srpm-builds", "status": 6}
    assert lab.back("starting_build", start) == {"can_start": True}
    assert lab.state(build) == "starting"
    lab.report(build, status=3)
    assert lab.state(build) == "running"
    lab.source_done(build)
    wait_until(lambda: lab.wakes == ["new 1", f"new 1-{DEBIAN} 1-{FEDORA}"])
    assert lab.tasks() == [f"1-{DEBIAN}", f"1-{FEDORA}"]
    assert lab.state(build) == "pending"
    record = lab.back(f"get-build-task/1-{FEDORA}")
    assert record["srpm_url"] == "http://x/1.src.rpm"
    assert record["git_repo"] is record["git_hash"] is None
    assert record["repos"][0]["baseurl"].endswith(f"/results/admin/hello/{FEDORA}/")
    for chroot in CHROOTS:
        lab.report(build, chroot, status=1, ended_on=222.5)
    assert lab.state(build) == "succeeded"
    assert lab.tasks() == []
    assert lab.client.get("/api_3/build/1").json()["ended_on"] == 222


def test_a_task_that_has_ended_is_not_started_again(lab: Lab) -> None:
    build = lab.submit(chroots=[FEDORA])
    lab.source_done(build)
    start: dict[str, Any] = {"build_id": build, "status": 6, "want_task": True}
    source = start | {"task_id": str(build), "chroot": "srpm-builds"}
    assert lab.back("starting_build", source) == {"can_start": False}
    start |= {"task_id": f"{build}-{FEDORA}", "chroot": FEDORA}
    assert lab.back("starting_build", start)["can_start"]
    lab.report(build, FEDORA, status=1)
    assert lab.back("starting_build", start) == {"can_start": False}


def test_a_terminal_chroot_is_fixed_and_packages_do_not_double(lab: Lab) -> None:
    build = lab.submit(chroots=[FEDORA])
    lab.source_done(build)
    package = {"name": "hello", "epoch": None, "version": "2.8", "release": "1", "arch": "noarch"}
    for _ in range(2):
        lab.report(build, FEDORA, status=1, results={"packages": [package]})
    lab.report(build, FEDORA, status=0, failure="late")
    lab.report(build, FEDORA, status=4)
    lab.source_done(build)
    assert lab.chroot_states(build) == {FEDORA: "succeeded"}
    reply = lab.client.get(f"/api_3/build/built-packages/{build}").json()
    assert reply == {FEDORA: {"packages": [package]}}


def test_result_dir_left_out_is_forgotten(lab: Lab) -> None:
    build = lab.submit(chroots=[FEDORA])
    lab.source_done(build)
    lab.report(build, FEDORA, status=6, started_on=111.9)
    lab.report(build, FEDORA, status=3, result_dir=None)
    item = lab.client.get(f"/api_3/build-chroot/list?build_id={build}").json()["items"][0]
    assert item["result_url"] is None
    assert item["started_on"] == 111


def test_failed_source_fails_named_chroots_and_says_why(lab: Lab) -> None:
    build = lab.submit(chroots=[DEBIAN])
    assert lab.chroot_states(build) == {DEBIAN: "waiting"}
    lab.report(build, status=0, failure="no such\nfile")
    assert lab.state(build) == "failed"
    assert lab.chroot_states(build) == {DEBIAN: "failed"}
    assert lab.client.get(f"/api_3/build/{build}").json()["failure"] == "no such file"
    assert "no such file" in lab.client.get(f"/coprs/build/{build}").text


def test_source_without_a_package_name_fails(lab: Lab) -> None:
    build = lab.submit()
    lab.report(build, status=1)
    assert lab.state(build) == "failed"
    assert lab.tasks() == []


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"debian-12": {"excludearch": ["x86_64"]}}, {FEDORA: "pending", DEBIAN: "skipped"}),
        ({"fedora-41": {"exclusivearch": ["ppc64le"]}}, {FEDORA: "skipped", DEBIAN: "pending"}),
        ({"fedora-41": {"exclusivearch": ["x86_64"]}}, {FEDORA: "pending", DEBIAN: "pending"}),
        (
            {name: {"excludearch": ["x86_64"]} for name in ("fedora-41", "debian-12")},
            {FEDORA: "pending", DEBIAN: "pending"},
        ),
    ],
)
def test_excluded_architectures(lab: Lab, tags: object, expected: dict[str, str]) -> None:
    build = lab.submit()
    lab.source_done(build, results={"architecture_specific_tags": tags})
    assert lab.chroot_states(build) == expected


def test_cancel_is_seen_at_once_and_asked_for_until_acknowledged(lab: Lab) -> None:
    build = lab.submit(chroots=[FEDORA])
    lab.source_done(build)
    lab.report(build, FEDORA, status=3)
    assert lab.api("PUT", f"/build/cancel/{build}").json()["state"] == "canceled"
    wait_until(lambda: "cancel" in lab.wakes)
    assert lab.tasks() == []
    assert lab.back("build-tasks/cancel-requests") == ["1", f"1-{FEDORA}"]
    start = {"build_id": 1, "task_id": f"1-{FEDORA}", "chroot": FEDORA, "status": 6}
    assert lab.back("starting_build", start) == {"can_start": False}
    assert lab.back("build-tasks/canceled/1", True) == "success"
    assert lab.back(f"build-tasks/canceled/1-{FEDORA}", False) == "success"
    assert lab.back("build-tasks/cancel-requests") == []
    lab.report(build, FEDORA, status=0)
    assert lab.chroot_states(build) == {FEDORA: "canceled"}
    again = lab.api("PUT", f"/build/cancel/{build}")
    assert (again.status_code, again.json()) == (409, {"error": "Cannot cancel build 1"})


def test_source_that_ends_after_a_cancel_releases_nothing(lab: Lab) -> None:
    build = lab.submit(chroots=[FEDORA])
    lab.api("PUT", f"/build/cancel/{build}")
    lab.source_done(build)
    assert lab.tasks() == []
    assert lab.chroot_states(build) == {FEDORA: "canceled"}


def test_reschedule(lab: Lab) -> None:
    build = lab.submit(chroots=[FEDORA])
    lab.source_done(build)
    body = {"build_id": build, "task_id": f"{build}-{FEDORA}", "chroot": FEDORA}
    assert lab.back("reschedule_build_chroot", body)["result"] == "noop"
    lab.report(build, FEDORA, status=3)
    assert lab.back("reschedule_build_chroot", body) == {"result": "done"}
    assert lab.chroot_states(build) == {FEDORA: "pending"}
    assert lab.back("reschedule_build_chroot", body | {"build_id": 99})["result"] == "noop"


def test_unknown_ids_are_no_error(lab: Lab) -> None:
    body = {"builds": [{"id": 999, "status": 1}], "actions": [{"id": 998, "result": 1}]}
    assert lab.back("update", body) == {
        "updated_builds_ids": [],
        "non_existing_builds_ids": [999],
        "updated_actions_ids": [],
        "non_existing_actions_ids": [998],
    }
    assert lab.back("starting_build", {"build_id": 999, "status": 6}) == {"can_start": False}
    waiting = [{"id": 1, "priority": -99, "project_owner": "admin"}]
    assert lab.back("pending-actions") == waiting
    for path in ("get-build-task/9-fedora-41-x86_64", "get-srpm-build-task/9"):
        reply = lab.client.get(f"/backend/{path}")
        assert (reply.status_code, reply.json()) == (404, {"msg": "Specified task ID not found"})
        assert reply.headers["Copr-FE-BE-API-Version"] == "9"


def test_dropped_chroot_gives_null(lab: Lab) -> None:
    build = lab.submit(chroots=[FEDORA])
    lab.source_done(build)
    lab.api("PUT", "/project/edit/admin/hello", {"chroots": [DEBIAN]})
    assert lab.back(f"get-build-task/{build}-{FEDORA}") is None


def test_only_the_backend_may_write(lab: Lab) -> None:
    for auth in (None, ("user", "wrong")):
        reply = lab.client.put("/backend/update/", json={}, auth=auth)
        assert reply.status_code == 401
        assert reply.text == "You have to provide the correct password"
        assert reply.headers["Copr-FE-BE-API-Version"] == "9"
    assert lab.client.put("/backend/update", json={}, auth=("x", PASSWORD)).json() == {}
    assert lab.client.get("/backend/update/").status_code == 405


@pytest.mark.parametrize(
    ("kind", "content", "status"),
    [
        ("text/plain", b"{}", 415),
        ("application/json", b"{", 400),
        ("application/json", b"[]", 400),
        ("application/json", b'{"builds": [{"id": "1"}]}', 400),
        ("application/json", b'{"builds": [{"id": 1, "status": 77}]}', 400),
        ("application/json", b'{"builds": 5}', 400),
    ],
)
def test_malformed_updates(lab: Lab, kind: str, content: bytes, status: int) -> None:
    headers = {"Content-Type": kind}
    auth = ("user", PASSWORD)
    reply = lab.client.post("/backend/update/", content=content, headers=headers, auth=auth)
    assert reply.status_code == status
    assert "msg" in reply.json()


def test_background_builds_come_last(lab: Lab) -> None:
    lab.submit(background=True)
    lab.submit()
    assert lab.tasks() == ["2", "1"]


def test_a_failing_wake_is_harmless(caplog: pytest.LogCaptureFixture) -> None:
    def broken(why: str, _tasks: object) -> None:
        raise ConnectionError(why)

    _harmless(broken)("new", [])
    assert "cannot wake" in caplog.text


def start(lab: Lab, task: str, **more: object) -> dict[str, object]:
    build, _, chroot = task.partition("-")
    body = {"build_id": int(build), "task_id": task, "chroot": chroot or "srpm-builds"}
    reply = lab.back("starting_build", body | {"status": 6, "started_on": 111.5} | more)
    assert isinstance(reply, dict)
    return reply


def test_a_start_that_wants_the_task_gets_it_and_it_runs(lab: Lab) -> None:
    build = lab.submit(chroots=[FEDORA])
    record = lab.back("get-srpm-build-task/1")
    assert start(lab, "1", want_task=True) == {"can_start": True, "task": record}
    assert lab.state(build) == "running"
    lab.source_done(build)
    record = lab.back(f"get-build-task/1-{FEDORA}")
    assert start(lab, f"1-{FEDORA}", want_task=True) == {"can_start": True, "task": record}
    item = lab.client.get(f"/api_3/build-chroot/list?build_id={build}").json()["items"][0]
    assert (item["state"], item["started_on"]) == ("running", 111)
    assert item["result_url"].endswith("/00000001-hello/")


@pytest.mark.parametrize("wanted", [True, False])
def test_a_canceled_or_unknown_task_does_not_start(lab: Lab, wanted: bool) -> None:
    build = lab.submit(chroots=[FEDORA])
    assert start(lab, "99", want_task=wanted) == {"can_start": False}
    lab.api("PUT", f"/build/cancel/{build}")
    assert start(lab, "1", want_task=wanted) == {"can_start": False}
    assert lab.state(build) == "canceled"


def test_a_task_of_a_dropped_chroot_ends_at_its_start(lab: Lab) -> None:
    build = lab.submit(chroots=[FEDORA])
    assert start(lab, f"1-{FEDORA}", want_task=True) == {"can_start": False}  # no package yet
    lab.source_done(build)
    assert start(lab, f"1-{DEBIAN}", want_task=True) == {"can_start": False}
    lab.api("PUT", "/project/edit/admin/hello", {"chroots": [DEBIAN]})
    assert start(lab, f"1-{FEDORA}", want_task=True) == {"can_start": False}
    assert lab.chroot_states(build) == {FEDORA: "failed"}
    assert lab.tasks() == []


def test_one_update_takes_many_builds(lab: Lab) -> None:
    builds = [lab.submit(chroots=[FEDORA]) for _ in range(3)]
    record = {"status": 1, "pkg_name": "hello", "srpm_url": "http://x/a.src.rpm"}
    reports = [record | {"id": build, "task_id": str(build)} for build in [*builds, 99]]
    reply = lab.back("update", {"builds": reports})
    assert reply == {"updated_builds_ids": builds, "non_existing_builds_ids": [99]}
    tasks = [f"{build}-{FEDORA}" for build in builds]
    assert lab.tasks() == tasks
    wait_until(lambda: " ".join(["new", *tasks]) in lab.wakes)
