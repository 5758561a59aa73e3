"""A nearly full disk: when it counts as that, what the grabber then does, and who is told."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.constants import EVENTS_KEY, GRABBER_KEY, WAITING_KEY
from backend.diskguard import Room, limit, short
from tests.unit.grabber import MemoryFrontend, Rig

MIB, GIB = 1024**2, 1024**3


def test_the_limit_is_a_gigabyte_a_twentieth_or_what_is_configured() -> None:
    assert limit(None, 1000 * GIB) == GIB
    assert limit(None, 10 * GIB) == GIB // 2
    assert limit(5 * GIB, 10 * GIB) == 5 * GIB
    assert short({"/x": Room(0, 10 * GIB)}, 0) == {}


def test_it_says_where_and_how_much() -> None:
    found = short({"/x": Room(900 * MIB, 100 * GIB), "/y": Room(2 * GIB, 100 * GIB)}, None)
    assert found == {"/x": "less than 1.0 GiB free in /x (min_free)"}


def test_files_that_can_be_made_are_guarded_like_bytes() -> None:
    """A disk without inodes answers "No space left on device", too."""

    def told(files: int, total: int, configured: int | None = None, known: bool = False) -> str:
        room = Room(100 * GIB, 100 * GIB, files=files, all_files=total)
        return short({"/x": room}, configured, already=["/x"] if known else ()).get("/x", "")

    assert told(9_999, 10**7) == (
        "fewer than 10000 more files can be made in /x (inodes): remove some"
    )
    assert told(10_000, 10**7) == ""
    assert told(12_499, 10**7, known=True)
    assert told(12_500, 10**7, known=True) == ""
    assert told(4_999, 100_000)
    assert told(5_000, 100_000) == ""
    assert told(399, 1_000)
    assert told(0, 0) == "", "a file system that does not count them"
    assert told(0, 10**7, configured=0) == "", "not guarded"


@given(st.lists(st.integers(0, 3000), max_size=50), st.integers(1, 2000))
def test_it_neither_starts_nor_stops_at_the_limit(frees: list[int], least: int) -> None:
    already: dict[str, str] = {}
    for free in frees:
        before, already = already, short({"/x": Room(free, 10**6)}, least, already=already)
        if free < least:
            assert already
        elif free >= least * 1.25:
            assert not already
        else:
            assert bool(already) == bool(before)


class Disk:
    """What statvfs answers."""

    f_frsize, f_blocks = 1, 1000
    f_files = f_favail = 0

    def __init__(self) -> None:
        self.f_bavail = 1000


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr("os.statvfs", lambda _path: disk)
    return disk


def texts(rig: Rig, kind: str) -> list[str]:
    raw = cast(Any, rig.queues.client.xrange(EVENTS_KEY))
    events = [json.loads(fields["event"]) for _, fields in raw]
    return [event["what"] for event in events if event.get("kind") == kind]


def test_nothing_starts_while_it_lasts_and_it_ends_by_itself(disk: Disk) -> None:
    rig = Rig(MemoryFrontend("1", "2", "3"))
    cast(Any, rig.desk.config).min_free = 100

    def look() -> None:
        rig.grab.guard._looked = float("-inf")
        rig.look(fetch=True)

    look()
    assert rig.queues.queued(0) == ["1", "2"]
    disk.f_bavail = 99
    look()
    look()
    rig.grab.notice._not_before = 0.0
    rig.grab.look()
    assert rig.queues.queued(0) == []
    waiting = rig.queues.client.hgetall(WAITING_KEY)
    reason = json.loads(cast(dict[str, str], waiting)["1"])["reason"]
    assert reason == "the disk is nearly full: less than 100 B free in / (min_free)"
    assert "100 B" in str(rig.queues.client.hget(GRABBER_KEY, "full"))
    disk.f_bavail = 124
    look()
    assert rig.queues.queued(0) == []
    disk.f_bavail = 125
    look()
    assert rig.queues.queued(0) == ["1", "2"]
    assert len(texts(rig, "disk.full")) == len(texts(rig, "disk.free")) == 1


def test_a_directory_that_is_not_there_is_not_its_business() -> None:
    rig = Rig(MemoryFrontend("1"))
    cast(Any, rig.desk.config).destdir = Path("/nowhere")
    rig.look(fetch=True)
    assert rig.desk.full == ""
