"""A farm that hangs gets going again, on the real daemon."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import constants
from backend.config import load
from backend.daemons.sentinel import Watch
from backend.events import Event, Events
from backend.processid import ProcessId
from tests.conftest import wait_until
from tests.integration.farm import Farm, make_srpm, running

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]


@pytest.fixture(scope="module")
def srpms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("srpms")
    make_srpm(top, "good")
    make_srpm(top, "slow", "echo BUILDING; sleep 600")
    return top / "SRPMS"


def said(client: Any, kind: str) -> list[Event]:
    entries = client.xrange(constants.EVENTS_KEY)
    events = [Event.from_fields(fields) for _, fields in entries]
    return [event for event in events if event.kind == kind]


def one(farm: Farm, title: str) -> ProcessId:
    wait_until(lambda: len(farm.titled(title)) == 1, 20, title)
    process = ProcessId.of(farm.titled(title)[0])
    assert process
    return process


@contextlib.contextmanager
def held(farm: Farm) -> Iterator[None]:
    """Without its master, which would let those go on that somebody has stopped."""
    os.kill(farm.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(farm.pid, signal.SIGCONT)


def test_a_worker_that_was_stopped_with_a_task_is_replaced(srpms: Path) -> None:
    with running(backend__group0_max_workers="1", backend__stall_alarm="2") as farm:
        farm.create()
        client = farm.redis
        worker = one(farm, "worker 0-0 idle")
        with held(farm):
            worker.signal(signal.SIGSTOP)
            wait_until(lambda: worker.state == "T")
            build = farm.submit(srpms / "good-1-1.src.rpm")
            wait_until(lambda: not worker.alive, 40, "the worker's end")
        assert farm.wait(build, seconds=60) == "succeeded", farm.stderr
        # On a machine that is busy elsewhere there may have been an alarm before.
        words = f"holds build {build} and does nothing"
        event = next(one for one in said(client, "farm.stalled") if words in one.what)
        assert "ended worker 0-0-" in event.what
        assert event.level == "error"
        state = json.loads((farm.top / "log" / event.data["file"]).read_text())
        assert state["processes"][f"0-0-{worker.pid}"]["state"] == "T"
        wait_until(lambda: said(client, "farm.recovered"), 30, "the end of the alarm")
        path = farm.top / "log" / "backend.log"
        wait_until(lambda: "farm is stalled" in path.read_text(), what="the alarm in the log")
        client.close()


def test_a_stopped_grabber_is_replaced(srpms: Path) -> None:
    with running(backend__stall_alarm="2") as farm:
        farm.create()
        client = farm.redis
        grabber = one(farm, "jobgrab")
        if not client.exists(constants.GRABBER_KEY):
            client.hset(constants.GRABBER_KEY, mapping={"pid": grabber.pid, "start": grabber.start})
        with held(farm):
            grabber.signal(signal.SIGSTOP)
            wait_until(lambda: grabber.state == "T")
            build = farm.submit(srpms / "good-1-1.src.rpm")
            wait_until(lambda: not grabber.alive, 40, "the grabber's end")
        assert farm.wait(build, seconds=60) == "succeeded", farm.stderr
        alarms = said(client, "farm.stalled")
        assert [one for one in alarms if "the job grabber is stopped" in one.what]
        client.close()


def test_a_full_farm_is_no_stall(srpms: Path) -> None:
    with running(backend__stall_alarm="0", backend__group0_max_workers="1") as farm:
        farm.create()
        client = farm.redis
        builds = [farm.submit(srpms / "slow-1-1.src.rpm") for _ in range(3)]
        assert len(builds) == 3
        chroot = next(iter(farm.api("GET", "mock-chroots/list")))
        wait_until(lambda: farm.titled(f"-{chroot}"), 30, "an RPM build that runs on and on")
        wait_until(
            lambda: client.hget(constants.GRABBER_KEY, "free") == "0", 30, "the grabber says so"
        )
        watch = Watch(load(farm.conf, {"backend.stall_alarm": "60"}), client, Events(client, "x"))
        assert watch.see().view.workers
        for quarter in range(40):
            watch.once(1000.0 + 15 * quarter)
        assert said(client, "farm.stalled") == []
        client.close()
