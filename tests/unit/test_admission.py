"""Asking for a task: one request at the embedded frontend, the protocol's way elsewhere."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from backend.admission import admit
from backend.exceptions import ProtocolError
from backend.frontend import Admission, Frontend

CHROOT = "fedora-41-x86_64"
SOURCE = {
    "task_id": "7",
    "build_id": 7,
    "project_owner": "jdoe",
    "project_name": "p",
    "project_dirname": "p",
    "source_type": 1,
    "source_json": '{"url": "http://x/a.src.rpm"}',
}
RPM = SOURCE | {"task_id": f"7-{CHROOT}", "chroot": CHROOT, "package_name": "hello"}


class FakeFrontend:
    def __init__(self, answer: Admission, record: Mapping[str, Any] | None) -> None:
        self.answer, self.record = answer, record
        self.calls: list[tuple[str, Any]] = []

    def task(self, task_id: str) -> Mapping[str, Any] | None:
        self.calls.append(("task", task_id))
        return self.record

    def starting(self, build: Mapping[str, Any]) -> Admission:
        self.calls.append(("starting", build))
        return self.answer

    def update(self, builds: Any) -> None:
        self.calls.append(("update", builds))


def ask(fake: FakeFrontend, task_id: str, *, embedded: bool) -> Any:
    return admit(cast(Frontend, fake), task_id, embedded=embedded)


def test_a_real_frontend_is_asked_as_the_protocol_says() -> None:
    fake = FakeFrontend(Admission(granted=True), RPM)
    admitted = ask(fake, f"7-{CHROOT}", embedded=False)
    assert [name for name, _ in fake.calls] == ["task", "starting", "update"]
    starting = fake.calls[1][1]
    assert starting["status"] == 6
    assert starting["result_dir"] == "00000007-hello"
    assert "want_task" not in starting
    (running,) = fake.calls[2][1]
    assert running == starting | {"status": 3}
    assert admitted.base == {key: value for key, value in running.items() if key != "status"}


@pytest.mark.parametrize(("task_id", "record"), [("7", SOURCE), (f"7-{CHROOT}", RPM)])
def test_the_embedded_frontend_is_asked_once(task_id: str, record: dict[str, Any]) -> None:
    fake = FakeFrontend(Admission(granted=True, task=record), None)
    admitted = ask(fake, task_id, embedded=True)
    ((_, request),) = fake.calls
    assert request["want_task"] is True
    assert request["chroot"] == admitted.base["chroot"]
    assert admitted.task.task_id == task_id
    assert admitted.base["started_on"] == request["started_on"]


def test_an_embedded_frontend_of_another_version_is_asked_the_long_way() -> None:
    fake = FakeFrontend(Admission(granted=True), SOURCE)
    assert ask(fake, "7", embedded=True).task.build_id == 7
    assert [name for name, _ in fake.calls] == ["starting", "task", "starting", "update"]


@pytest.mark.parametrize("embedded", [True, False])
def test_what_is_not_wanted_is_not_started(embedded: bool) -> None:
    fake = FakeFrontend(Admission(granted=False), SOURCE)
    assert ask(fake, "7", embedded=embedded) is None
    assert "update" not in [name for name, _ in fake.calls]


def test_a_task_of_a_dropped_chroot_is_an_error_that_ends_it() -> None:
    """The frontend goes on to list it as unfinished: without a report it came for ever."""
    gone = FakeFrontend(Admission(granted=True), None)
    with pytest.raises(ProtocolError, match="does not have this chroot"):
        ask(gone, "7", embedded=False)
    assert [name for name, _ in gone.calls] == ["task"]
