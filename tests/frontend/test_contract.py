"""One contract, two frontends: what the backend relies on holds at both.

The backend's own client asks, so that it is tested against both as well. Where they differ
on purpose (packages never double at the embedded one, it needs no dist-git) nothing is asked.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.exceptions import FrontendRefused
from backend.frontend import Frontend
from tests.frontend.server import PASSWORD, recorded
from tests.frontend.subjects import Embedded, Recorded, Subject, basic
from tests.unit.test_web_lab import CHROOTS, running_lab

FEDORA, DEBIAN = CHROOTS


@pytest.fixture(params=["recorded", "embedded"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "recorded":
        with recorded(tmp_path) as server:
            yield Recorded(server)
    else:
        with running_lab(tmp_path) as lab:
            yield Embedded(lab)


def get(subject: Subject, path: str) -> Any:
    status, value, headers = subject.call("GET", path)
    assert status == 200
    assert {k.lower(): v for k, v in headers.items()}["copr-fe-be-api-version"] == "9"
    return value


def tasks(subject: Subject) -> list[str]:
    return [record["task_id"] for record in get(subject, "pending-jobs/")]


def report(subject: Subject, build: int, chroot: str | None = None, **values: Any) -> int:
    record = {
        "id": build,
        "build_id": build,
        "task_id": f"{build}-{chroot}" if chroot else str(build),
        "chroot": chroot or "srpm-builds",
        "result_dir": f"{build:08d}-hello" if chroot else f"{build:08d}",
    }
    record |= values
    path = "starting_build/" if values.get("status") == 6 else "update/"
    body = record if path == "starting_build/" else {"builds": [record]}
    return subject.call("POST", path, body)[0]


def done(subject: Subject, build: int) -> None:
    results: dict[str, Any] = {
        "name": "hello", "epoch": None, "version": "1", "release": "1",
        "architecture_specific_tags": {"fedora-41": {}, "debian-12": {}},
    }  # fmt: skip
    report(
        subject, build, status=1, pkg_name="hello", pkg_version="1-1",
        srpm_url="http://x/h.src.rpm", results=results,
    )  # fmt: skip
    subject.imported(build)


def test_every_unfinished_task_is_listed_until_it_ends(subject: Subject) -> None:
    build = subject.submit()
    assert get(subject, "pending-jobs") == [
        {"task_id": "1", "build_id": 1, "project_owner": "admin", "background": False,
         "sandbox": get(subject, "get-srpm-build-task/1/")["sandbox"], "chroot": None}
    ]  # fmt: skip
    for status, state in ((6, "starting"), (3, "running")):
        assert report(subject, build, status=status) == 200
        assert subject.state(build) == state
        assert tasks(subject) == ["1"]
    done(subject, build)
    assert tasks(subject) == [f"1-{DEBIAN}", f"1-{FEDORA}"]
    for chroot in CHROOTS:
        for status in (6, 3, 1):
            assert f"1-{chroot}" in tasks(subject)
            assert report(subject, build, chroot, status=status) == 200
    assert tasks(subject) == []
    assert subject.state(build) == "succeeded"


def test_tasks_have_the_fields_that_the_backend_reads(subject: Subject) -> None:
    build = subject.submit()
    source = get(subject, f"get-srpm-build-task/{build}/")
    assert json.loads(source["source_json"]) == {"url": "http://x/h.src.rpm"}
    common = {"task_id", "build_id", "project_owner", "project_name", "project_dirname",
              "submitter", "sandbox", "background", "chroot", "appstream", "repos"}  # fmt: skip
    own = {"package_name", "source_type", "source_json", "distributions_in_project",
           "distributions_in_build"}  # fmt: skip
    assert set(source) >= common | own
    done(subject, build)
    record = get(subject, f"get-build-task/{build}-{FEDORA}/")
    own = {"git_repo", "git_hash", "package_name", "package_version", "timeout", "memory_reqs",
           "enable_net", "isolation", "buildroot_pkgs", "with_opts", "without_opts", "tags",
           "uses_devel_repo", "fedora_review", "repo_priority", "storage"}  # fmt: skip
    assert set(record) >= common | own
    assert record["repos"][0]["id"] == "copr_base"
    assert record["repos"][0]["baseurl"].endswith(f"/admin/hello/{FEDORA}/")


def test_starting_is_no_lock(subject: Subject) -> None:
    build = subject.submit(chroots=[FEDORA])
    done(subject, build)
    body = {"build_id": build, "task_id": f"{build}-{FEDORA}", "chroot": FEDORA, "status": 6}
    for _ in range(2):
        assert subject.call("POST", "starting_build/", body)[1] == {"can_start": True}
    report(subject, build, FEDORA, status=1)
    assert subject.call("POST", "starting_build/", body)[1] == {"can_start": True}
    assert subject.state(build) == "succeeded"
    assert subject.call("POST", "starting_build/", {**body, "build_id": 99, "task_id": "99"})[
        1
    ] == {"can_start": False}


def test_the_result_dir_left_out_is_forgotten(subject: Subject) -> None:
    build = subject.submit(chroots=[FEDORA])
    done(subject, build)
    report(subject, build, FEDORA, status=3)
    assert subject.result_dir(build, FEDORA) == f"{build:08d}-hello"
    report(subject, build, FEDORA, status=3, result_dir=None)
    assert subject.result_dir(build, FEDORA) is None


def test_a_finished_status_stays(subject: Subject) -> None:
    build = subject.submit(chroots=[FEDORA])
    done(subject, build)
    report(subject, build, FEDORA, status=0)
    for status in (1, 3, 4):
        report(subject, build, FEDORA, status=status)
    assert subject.chroots(build) == {FEDORA: "failed"}


def test_a_task_is_given_back(subject: Subject) -> None:
    build = subject.submit(chroots=[FEDORA])
    done(subject, build)
    task = {"build_id": build, "task_id": f"{build}-{FEDORA}", "chroot": FEDORA}
    assert subject.call("POST", "reschedule_build_chroot/", task)[1]["result"] == "noop"
    report(subject, build, FEDORA, status=3)
    assert subject.call("POST", "reschedule_build_chroot/", task)[1] == {"result": "done"}
    assert subject.chroots(build) == {FEDORA: "pending"}
    report(subject, build, FEDORA, status=3)
    report(subject, build, FEDORA, status=4)
    assert subject.chroots(build) == {FEDORA: "pending"}
    unknown = {**task, "build_id": 99}
    assert subject.call("POST", "reschedule_build_chroot/", unknown)[1]["result"] == "noop"


def test_a_cancel_is_asked_for_until_acknowledged(subject: Subject) -> None:
    build = subject.submit(chroots=[FEDORA])
    done(subject, build)
    report(subject, build, FEDORA, status=3)
    subject.cancel(build)
    assert subject.state(build) == "canceled"
    assert tasks(subject) == []
    assert report(subject, build, FEDORA, status=6) == 200
    wanted = get(subject, "build-tasks/cancel-requests/")
    assert wanted == ["1", f"1-{FEDORA}"]
    for task in wanted:
        assert subject.call("POST", f"build-tasks/canceled/{task}/", True)[:2] == (200, "success")
        assert subject.call("POST", f"build-tasks/canceled/{task}/", True)[:2] == (200, "success")
    assert get(subject, "build-tasks/cancel-requests/") == []
    report(subject, build, FEDORA, status=0)
    assert subject.chroots(build) == {FEDORA: "canceled"}


def test_a_failed_source_fails_everything(subject: Subject) -> None:
    build = subject.submit(chroots=[FEDORA])
    report(subject, build, status=0)
    assert subject.state(build) == "failed"
    assert subject.chroots(build) == {FEDORA: "failed"}
    nameless = subject.submit()
    report(subject, nameless, status=1)
    assert subject.state(nameless) == "failed"


def test_a_dropped_chroot_is_null(subject: Subject) -> None:
    build = subject.submit(chroots=[FEDORA])
    done(subject, build)
    subject.drop_chroot(FEDORA)
    assert get(subject, f"get-build-task/{build}-{FEDORA}/") is None


def test_unknown_ids(subject: Subject) -> None:
    body = {"builds": [{"id": 999999, "status": 1}], "actions": [{"id": 999999, "result": 1}]}
    assert subject.call("POST", "update/", body)[1] == {
        "updated_builds_ids": [],
        "non_existing_builds_ids": [999999],
        "updated_actions_ids": [],
        "non_existing_actions_ids": [999999],
    }
    for path in ("get-build-task/999-fedora-41-x86_64/", "get-srpm-build-task/999/"):
        assert subject.call("GET", path)[:2] == (404, {"msg": "Specified task ID not found"})


@pytest.mark.parametrize("path", ["update/", "starting_build/", "reschedule_build_chroot/"])
def test_only_the_backend_may_write_and_only_json(subject: Subject, path: str) -> None:
    assert subject.call("POST", path, {}, Authorization=basic("wrong"))[0] == 401
    assert subject.call("POST", path, {}, **{"Content-Type": "text/plain"})[0] == 415
    assert subject.call("GET", path)[0] == 405


def test_an_id_that_is_no_integer_is_refused(subject: Subject) -> None:
    build = subject.submit()
    status = report(subject, build, id=str(build), status=1)
    assert status >= 400
    assert subject.state(build) == "pending"


def test_background_comes_last(subject: Subject) -> None:
    subject.submit(background=True)
    subject.submit()
    assert tasks(subject) == ["2", "1"]


def test_actions_are_offered_as_a_list(subject: Subject) -> None:
    for record in get(subject, "pending-actions/"):
        assert isinstance(record["id"], int)
        assert -100 <= record["priority"] <= 100


def test_the_backends_client_reads_it(tmp_path: Path) -> None:
    with recorded(tmp_path) as server:
        subject = Recorded(server)
        with contextlib.closing(Frontend(server.url, PASSWORD)) as client:
            build = subject.submit()
            assert [task.task_id for task in client.pending()[0]] == [str(build)]
            with pytest.raises(FrontendRefused, match="404"):
                client.task("999")
