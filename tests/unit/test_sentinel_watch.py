"""The sentinel's eyes and hands: what it reads from Redis and /proc, and whom it ends."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import fakeredis
import pytest
import redis

from backend import constants
from backend.config import Config, Group
from backend.daemons.sentinel import KEEP, Watch
from backend.events import Event, Events
from backend.processid import ProcessId
from backend.queues import Queues
from tests.conftest import wait_until


class Bench:
    """A farm of one group in Redis, with a real process for each worker."""

    def __init__(self, top: Path) -> None:
        self.client: Any = fakeredis.FakeRedis(decode_responses=True)
        self.queues = Queues(self.client)
        group = Group(id=0, name="PC", archs=("x86_64",), max_workers=2)
        values = {"groups": (group,), "stall_alarm": 60, "log_dir": top}
        self.config = cast(Config, SimpleNamespace(**values))
        self.watch = Watch(self.config, self.client, Events(self.client, "sentinel"))
        self.started: list[subprocess.Popen[bytes]] = []

    def process(self) -> ProcessId:
        self.started.append(subprocess.Popen(["sleep", "600"]))
        found = ProcessId.of(self.started[-1].pid)
        assert found
        wait_until(lambda: found.state == "S", what="it sleeps")
        return found

    def worker(self, name: str) -> ProcessId:
        process = self.process()
        self.queues.register(name, 0, process)
        return process

    def grabber(self, **fields: str) -> ProcessId:
        process = self.process()
        own = {"pid": str(process.pid), "start": str(process.start), "pass": str(time.time())}
        self.client.hset(constants.GRABBER_KEY, mapping=own | fields)
        return process

    def pass_time(self, seconds: int, start: int = 1000) -> None:
        for now in range(start, start + seconds + 1, 15):
            self.watch.once(float(now))

    def said(self) -> list[Event]:
        entries = self.client.xrange(constants.EVENTS_KEY)
        return [Event.from_fields(fields) for _, fields in entries]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    for process in found.started:
        process.kill()
        process.wait()


def ended(bench: Bench, process: ProcessId) -> int:
    """How it ended: the number of the signal, negative."""
    return next(p for p in bench.started if p.pid == process.pid).wait(100)


def test_workers_beside_a_full_queue_are_retired_then_ended(bench: Bench, tmp_path: Path) -> None:
    worker, grabber = bench.worker("0-0-1"), bench.grabber()
    bench.queues.enqueue(0, "42-a-1-x86_64")
    bench.pass_time(60)
    assert ended(bench, worker) == -12
    other = bench.worker("0-0-2")
    bench.pass_time(60, start=1075)
    assert (ended(bench, other), ended(bench, grabber)) == (-9, -9)
    first, second = bench.said()
    assert "build 42-a-1-x86_64 waits in the queue of group 0 beside idle workers" in first.what
    assert "retired worker 0-0-1" in first.what
    assert "ended worker 0-0-2, ended the job grabber" in second.what
    document = json.loads((tmp_path / first.data["file"]).read_text())
    assert document["queued"] == {"0": ["42-a-1-x86_64"]}
    assert document["processes"]["0-0-1"]["pid"] == worker.pid
    assert document["grabber_process"]["state"] == "S"


def test_a_grabber_that_starts_nothing_is_ended(bench: Bench) -> None:
    worker, grabber = bench.worker("0-0-1"), bench.grabber(startable="3", started="5.0")
    bench.pass_time(60)
    assert ended(bench, grabber) == -9
    assert worker.alive
    assert "3 tasks could start and do not" in bench.said()[0].what


@pytest.mark.parametrize("reason", ["drained", "trouble", "busy", "limits"])
def test_no_alarm(bench: Bench, reason: str) -> None:
    bench.worker("0-0-1")
    bench.grabber(
        startable="0" if reason == "limits" else "3",
        trouble="cannot reach it" if reason == "trouble" else "",
    )
    if reason == "drained":
        bench.client.set(constants.DRAIN_KEY, "kernel update")
    if reason == "busy":
        bench.queues.enqueue(0, "7")
        assert bench.queues.claim(0, "0-0-1", 1)
    bench.pass_time(1000)
    assert bench.said() == []


def test_few_descriptions_are_kept_and_a_full_disk_is_survived(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(KEEP + 5):
        (tmp_path / f"stall-2020010{number:02}T000000Z.json").touch()
    bench.worker("0-0-1")
    bench.grabber(startable="1")
    bench.pass_time(60)
    assert len(list(tmp_path.glob("stall-*.json"))) == KEEP
    assert bench.said()[0].data["file"] in {path.name for path in tmp_path.iterdir()}

    def full(*_: object) -> int:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    bench.pass_time(60, start=1075)
    assert bench.said()[1].data == {}


def test_the_time_without_redis_does_not_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.worker("0-0-1")
    bench.grabber(startable="1")
    bench.pass_time(45)
    with monkeypatch.context() as patch:
        away = redis.ConnectionError("away")
        patch.setattr(bench.watch, "see", lambda: (_ for _ in ()).throw(away))
        with pytest.raises(redis.ConnectionError):
            bench.watch.once(1060.0)
    bench.pass_time(45, start=1075)
    assert bench.said() == []
