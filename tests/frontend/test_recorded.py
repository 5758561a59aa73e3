"""The recorded frontend against the captures of the real one: same requests, same answers."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.frontend.server import PASSWORD, RecordedFrontend, recorded
from tests.frontend.values import PENDING, Build

CAPTURES = Path(__file__).parent / "captures"
CHROOTS = ["fedora-41-x86_64", "debian-12-x86_64"]
#: What a recording cannot know.
VOLATILE = {"created_on", "started_on", "ended_on", "git_hash", "srpm_url", "git_repo", "baseurl"}


def capture(name: str) -> dict[str, Any]:
    (path,) = CAPTURES.glob(f"{name}*.json")
    data: dict[str, Any] = json.loads(path.read_text())
    return data


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RecordedFrontend]:
    with recorded(tmp_path) as server:
        yield server


def send(server: RecordedFrontend, request: dict[str, Any], **headers: str) -> Any:
    """Send a captured request; returns the reply."""
    if request["auth"]:
        headers |= urllib3.make_headers(basic_auth=f"user:{PASSWORD}")
    data = None
    if request["method"] == "POST":
        headers.setdefault("Content-Type", "application/json")
        data = json.dumps(request["json"]).encode()
    url = server.url + request["path"]
    return urllib3.request(request["method"], url, body=data, headers=headers, retries=False)


def plain(value: Any) -> Any:
    """The value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def replay(server: RecordedFrontend, name: str) -> None:
    """The captured request gets the captured answer."""
    recording = capture(name)
    want = recording["response"]
    got = send(server, recording["request"])
    assert got.status == want["status"], name
    assert got.headers["Content-Type"] == want["headers"]["Content-Type"], name
    assert got.headers["Copr-FE-BE-API-Version"] == "9"
    if want["headers"]["Content-Type"] == "application/json" or isinstance(want["json"], list):
        assert plain(got.json()) == plain(want["json"]), name


@pytest.fixture
def project(server: RecordedFrontend) -> RecordedFrontend:
    """As in the captures: project hello, then cap1, which the builds belong to."""
    server.model.create("jdoe", "hello", CHROOTS)
    server.model.create("jdoe", "cap1", CHROOTS)
    return server


def submit(server: RecordedFrontend, **more: Any) -> Build:
    source = {"url": "http://127.0.0.1:5002/srpms/hello-2.8-1.src.rpm"}
    return server.model.submit("jdoe", "cap1", 1, source, **more)


def test_a_new_project_and_its_actions(project: RecordedFrontend) -> None:
    for name in ("02", "03", "04", "05", "06", "07", "08", "09", "10", "11"):
        replay(project, name)
    assert project.model.pending_actions() == []


def test_a_build_from_source_to_success(project: RecordedFrontend) -> None:
    submit(project)
    for name in ("12", "13", "14", "15", "16", "17", "18", "19"):
        replay(project, name)
    project.model.import_completed(
        {"build_id": 1, "branch_commits": {"f41": "a" * 40, "debian12": "b" * 40}}
    )
    for name in ("21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32", "33"):
        replay(project, name)
    chroots = project.model.builds[1].chroots
    assert [chroot.status for chroot in chroots.values()] == [0, 1]
    assert project.model.builds[1].state == "failed"


def test_cancels(project: RecordedFrontend) -> None:
    submit(project)
    submit(project).pkg_name = "hello"
    project.model.cancel(2)
    for name in ("35", "36", "37", "38"):
        replay(project, name)
    build = submit(project, chroots=["fedora-41-x86_64"])
    build.chroots["fedora-41-x86_64"].status = PENDING
    project.model.cancel(3)
    for name in ("39", "40", "41"):
        replay(project, name)
    assert build.chroots["fedora-41-x86_64"].status == 2


def edge(what: str) -> dict[str, Any]:
    cases = json.loads((CAPTURES / "edge-cases.json").read_text())
    found: dict[str, Any] = next(case for case in cases if case["what"] == what)
    return found


def update(server: RecordedFrontend, **record: Any) -> int:
    request = {"method": "POST", "path": "/backend/update/", "auth": True}
    reply = send(server, request | {"json": {"builds": [record]}})
    return int(reply.status)


def ready(server: RecordedFrontend) -> Build:
    """A build whose chroot fedora-41 runs."""
    build = submit(server, chroots=["fedora-41-x86_64"])
    build.pkg_name, build.status = "hello", 1
    build.chroots["fedora-41-x86_64"].status = 3
    return build


TASK = {"id": 1, "task_id": "1-fedora-41-x86_64", "chroot": "fedora-41-x86_64"}
PACKAGE = {"name": "hello", "epoch": 0, "version": "2.8", "release": "1", "arch": "noarch"}


def test_traps(project: RecordedFrontend) -> None:
    build = ready(project)
    chroot = build.chroots["fedora-41-x86_64"]
    assert update(project, **TASK, status=3, result_dir="00000001-hello") == 200
    assert chroot.result_dir == "00000001-hello"
    assert update(project, **TASK, status=3) == 200
    assert chroot.result_dir is None  # edge case: blanked
    extra = {"packages": [{**PACKAGE, "size": 1}]}
    code = edge("results package with an extra key")["reply"][0]
    assert update(project, **TASK, status=1, results=extra) == code == 500
    for _ in range(2):
        assert update(project, **TASK, status=1, results={"packages": [PACKAGE]}) == 200
    twice = edge("same terminal update sent twice duplicates results")
    assert chroot.packages == twice["pk"]["fedora-41-x86_64"]["packages"]
    assert update(project, **TASK, status=0) == 200
    assert chroot.status == 1
    assert update(project, **{**TASK, "id": "1"}, status=1) == 500
    assert update(project, id=1, task_id="1") == 500  # a source update needs its status


def test_source_results_must_cover_every_distribution(project: RecordedFrontend) -> None:
    build = submit(project)
    done = {"id": 1, "task_id": "1", "status": 1, "pkg_name": "hello", "result_dir": "00000001"}
    missing: dict[str, Any] = {"architecture_specific_tags": {"fedora-41": {}}}
    assert update(project, **done, results=missing) == 500
    assert build.state == "pending"
    tags = {"fedora-41": {}, "debian-12": {"excludearch": ["x86_64"]}}
    assert update(project, **done, results={"architecture_specific_tags": tags}) == 200
    assert build.state == "importing"
    assert build.chroots["debian-12-x86_64"].status == 5


def test_an_import_of_one_branch_only(project: RecordedFrontend) -> None:
    build = submit(project)
    update(project, id=1, task_id="1", status=1, pkg_name="hello", result_dir="00000001")
    project.model.import_completed({"build_id": 1, "branch_commits": {"f41": "1" * 40}})
    assert build.state == edge("import-completed for only one of two branches")["state"][0]
    assert [task["task_id"] for task in project.model.pending_jobs()] == ["1-fedora-41-x86_64"]


def test_a_deleted_project_holds_back_later_actions(project: RecordedFrontend) -> None:
    cap1 = project.model.projects["jdoe", "cap1"]
    project.model.act(0, "copr", {}, cap1)
    project.model.createrepo(cap1, CHROOTS)
    assert [record["id"] for record in project.model.pending_actions()] == [1, 2, 3, 4, 5]


def test_only_json_and_the_right_method(project: RecordedFrontend) -> None:
    request = {"method": "POST", "path": "/backend/update/", "json": {}, "auth": True}
    assert send(project, request, **{"Content-Type": "text/plain"}).status == 415
    assert send(project, request | {"method": "GET"}).status == 405
    assert send(project, request | {"path": "/backend/nothing/"}).status == 404


def test_requests_at_the_same_time(project: RecordedFrontend) -> None:
    def submit_one() -> None:
        with project.lock:
            submit(project)

    threads = [threading.Thread(target=submit_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    replies = [send(project, capture("12")["request"]).json() for _ in range(4)]
    assert [len(reply) for reply in replies] == [8] * 4
