"""Pure parts: tasks at the door, chroots, scheduling, restart back-off, layout."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import layout, pool, scheduler
from backend.chroot import Chroot, from_os_release
from backend.exceptions import CoprBackendError, ProtocolError
from backend.job import RpmTask, SourceTask
from backend.pending import PendingTask
from backend.taskfields import split_task_id

RPM_RECORD: dict[str, Any] = {
    "task_id": "7-debian-12-x86_64",
    "build_id": 7,
    "project_owner": "jdoe",
    "project_name": "cap1",
    "project_dirname": "cap1:pr:7",
    "chroot": "debian-12-x86_64",
    "package_name": "hello",
    "package_version": "2.8-1",
    "timeout": 1234,
    "srpm_url": "http://127.0.0.1/results/x.src.rpm",
}


def pending(task_id: str, **extra: Any) -> PendingTask:
    build_id, chroot = split_task_id(task_id)
    record = {
        "task_id": task_id,
        "build_id": build_id,
        "project_owner": "jdoe",
        "chroot": str(chroot) if chroot else None,
    }
    return PendingTask.from_record({**record, **extra})


def test_chroot_is_split_from_the_right() -> None:
    chroot = Chroot.parse("centos-stream-9-x86_64")
    assert (chroot.os, chroot.version, chroot.arch) == ("centos-stream", "9", "x86_64")
    assert str(chroot) == "centos-stream-9-x86_64"


@pytest.mark.parametrize(
    ("chroot", "takes", "refuses"),
    [
        ("fedora-41-x86_64", ("noarch", "x86_64"), ("i686", "aarch64", "src", "")),
        ("fedora-41-i386", ("noarch", "i386", "i686"), ("x86_64",)),
        ("fedora-36-armhfp", ("armv7hl",), ("aarch64",)),
        ("fedora-41-s390x", ("s390x",), ("s390",)),
    ],
)
def test_which_packages_belong_into_a_chroot(
    chroot: str, takes: tuple[str, ...], refuses: tuple[str, ...]
) -> None:
    found = Chroot.parse(chroot)
    assert all(found.takes(arch) for arch in takes)
    assert not any(found.takes(arch) for arch in refuses)


@pytest.mark.parametrize("name", ["", "fedora", "fedora-41", "a-../..-x", "a/b-1-x", "x" * 3])
def test_bad_chroot_names_are_refused(name: str) -> None:
    with pytest.raises(ProtocolError, match="chroot name"):
        Chroot.parse(name)


def test_host_chroot_from_os_release() -> None:
    text = 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n'
    assert str(from_os_release(text, "x86_64")) == "debian-12-x86_64"
    assert str(from_os_release("ID=arch\n", "x86_64")) == "arch-rolling-x86_64"


def test_paths_and_urls_of_an_rpm_task() -> None:
    task = RpmTask.from_record(RPM_RECORD)
    where = layout.result_path(Path("/r"), task)
    assert where == Path("/r/jdoe/cap1:pr:7/debian-12-x86_64/00000007-hello")
    url = layout.result_url("http://h/results/", task, "a+b.rpm")
    assert url == "http://h/results/jdoe/cap1:pr:7/debian-12-x86_64/00000007-hello/a+b.rpm"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project_owner", "../etc"),
        ("project_dirname", "a/b"),
        ("package_name", ".."),
        ("package_name", None),
        ("timeout", "x"),
        ("timeout", -1),
        ("chroot", "../x"),
        ("build_id", True),
        ("repos", ["x"]),
        ("with_opts", [1]),
    ],
)
def test_hostile_records_name_the_problem(field: str, value: object) -> None:
    with pytest.raises(ProtocolError):
        RpmTask.from_record({**RPM_RECORD, field: value})


@given(st.dictionaries(st.sampled_from(sorted(RPM_RECORD)), st.none() | st.integers() | st.text()))
def test_any_record_is_read_or_refused_by_our_own_error(change: dict[str, Any]) -> None:
    for kind in (RpmTask, SourceTask, PendingTask):
        with contextlib.suppress(CoprBackendError):
            kind.from_record({**RPM_RECORD, **change})


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "7", '{"url": 1e999}x'])
def test_a_source_that_is_no_object_is_our_own_error(text: str) -> None:
    record = RPM_RECORD | {"task_id": "1", "source_type": 1, "source_json": text}
    with pytest.raises(ProtocolError, match="source"):
        SourceTask.from_record(record)


def test_an_error_that_quotes_a_lot_is_cut() -> None:
    with pytest.raises(ProtocolError) as caught:
        RpmTask.from_record(RPM_RECORD | {"task_id": "7-" * 100_000, "timeout": "x"})
    assert len(str(caught.value)) < 2100


def test_order_is_source_then_rpm_then_background() -> None:
    tasks = [
        pending("1", background=True),
        pending("2-fedora-41-x86_64"),
        pending("3"),
        pending("4"),
        pending("1-fedora-41-x86_64", background=True),
    ]
    slots = {0: scheduler.Slots(archs=("x86_64",), free=9)}
    started = [task.task_id for task, _ in scheduler.plan(tasks, slots).start]
    assert started == ["3", "4", "2-fedora-41-x86_64", "1", "1-fedora-41-x86_64"]


def test_every_waiting_task_has_a_reason() -> None:
    tasks = [pending("1"), pending("2"), pending("3-fedora-41-s390x")]
    plan = scheduler.plan(tasks, {0: scheduler.Slots(archs=("x86_64",), free=1)})
    assert [task.task_id for task, _ in plan.start] == ["1"]
    assert "busy" in plan.waiting["2"]
    assert "s390x" in plan.waiting["3-fedora-41-s390x"]


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 12))
def test_never_more_tasks_than_free_slots(free0: int, free1: int, count: int) -> None:
    slots = {
        0: scheduler.Slots(archs=("x86_64",), free=free0),
        1: scheduler.Slots(archs=("x86_64",), free=free1),
    }
    plan = scheduler.plan([pending(str(number)) for number in range(count)], slots)
    assert len(plan.start) == min(count, free0 + free1)
    assert len(plan.start) + len(plan.waiting) == count


def test_restart_back_off_grows_to_a_limit() -> None:
    delays = [pool.restart_delay(number) for number in range(40)]
    assert delays[:2] == [0.0, 0.0]
    assert delays == sorted(delays)
    assert delays[-1] == 10.0


def test_free_slot_numbers_are_reused() -> None:
    assert pool.missing_slots({0, 2}, 4) == [1, 3]
    assert pool.missing_slots({0, 1}, 1) == []
