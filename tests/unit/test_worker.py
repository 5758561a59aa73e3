"""What a worker does with its claim when something goes wrong; the build itself is replaced."""

import os
import time
from collections.abc import Iterator
from typing import Any, cast

import fakeredis
import pytest
import redis

from backend import build, wake, workdir
from backend.builders import Builder
from backend.config import Config, Group
from backend.constants import GRABBER_KEY
from backend.daemons import child, worker
from backend.exceptions import (
    FrontendBroken,
    FrontendError,
    FrontendRefused,
    HostError,
    InfrastructureError,
    Killed,
    ProtocolError,
    Stopped,
)


class FakeConfig:
    frontend_url = "http://127.0.0.1:9"
    max_attempts = 2
    trouble_timeout = 600
    builder_timeout = 60


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[worker.Worker]:
    client = fakeredis.FakeRedis(decode_responses=True)
    reader, writer = os.pipe()
    monkeypatch.setattr(worker, "connect", lambda *_, **__: client)
    monkeypatch.setattr(child, "wakeup_pipe", lambda *_: reader)
    monkeypatch.setattr(child, "title", lambda *_: None)
    monkeypatch.setattr(worker, "PAUSE", 0.0)
    group = Group(id=0, name="PC", archs=("x86_64",), max_workers=1)
    yield worker.Worker(
        cast(Config, FakeConfig()),
        group,
        number=0,
        slot=0,
        password="x",
        builder=cast(Builder, None),
    )
    os.close(reader)
    os.close(writer)


def work(idle: worker.Worker, monkeypatch: pytest.MonkeyPatch, outcome: Any) -> Any:
    def run(*_: Any) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(build, "run", run)
    idle.once(1)
    return idle._queues


@pytest.mark.parametrize("error", [FrontendError("away"), InfrastructureError("disk")])
def test_trouble_gives_the_task_back(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    idle._queues.enqueue(0, "7")
    queues = work(idle, monkeypatch, error)
    assert (queues.queued(0), queues.claims(), queues.outbox()) == (["7"], {}, [])


@pytest.mark.parametrize(("error", "tries"), [(FrontendBroken("500"), 1), (FrontendError("x"), 3)])
def test_the_trouble_of_one_task_alone_leaves_the_worker_to_others(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int
) -> None:
    listener = idle._queues.subscribe()
    listener.get_message(timeout=1)
    idle._queues.enqueue(0, "7")
    for _ in range(tries):
        assert idle._queues.queued(0) == ["7"]
        queues = work(idle, monkeypatch, error)
    assert (queues.queued(0), queues.claims(), queues.outbox()) == ([], {}, [])
    assert queues.client.hget("copr-be:task:7", "tries") == str(tries), "it goes on counting"
    heard = wake.decode(str(listener.get_message(timeout=1)["data"]), time.time())
    assert heard.ended == "7"


def test_a_trouble_that_lasts_is_said_less_and_less_often(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(idle._events, "emit", lambda text, *_, **__: said.append(text))
    cast(Any, idle._queues.client).hset(GRABBER_KEY, "trouble", "away")
    idle._queues.enqueue(0, "7")
    for _ in range(20):
        work(idle, monkeypatch, FrontendError("away"))
    assert len(said) == 5
    assert said[-1] == "build 7: given back (16 times by now): away"
    idle._queues.settled("7")
    work(idle, monkeypatch, FrontendError("away"))
    assert said[-1] == "build 7: given back: away"


def test_troubles_with_a_good_time_between_them_do_not_add_up(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle._queues.enqueue(0, "7")
    clock = [1000.0]
    monkeypatch.setattr("backend.daemons.worker.time.time", lambda: clock[0])
    work(idle, monkeypatch, FrontendBroken("500"))
    clock[0] += 500
    idle._queues.settled("7")
    idle._queues.enqueue(0, "7")
    work(idle, monkeypatch, FrontendBroken("500"))
    clock[0] += 500
    idle._queues.enqueue(0, "7")
    queues = work(idle, monkeypatch, FrontendBroken("500"))
    assert (queues.queued(0), queues.outbox()) == ([], [])
    clock[0] += 101
    idle._queues.enqueue(0, "7")
    queues = work(idle, monkeypatch, FrontendBroken("500"))
    assert "600 s of trouble" in queues.outbox()[0].build["failure"]


@pytest.mark.parametrize("error", [FrontendRefused("400"), Killed("signal 9")])
def test_what_may_be_the_tasks_own_doing_fails_it_in_the_end(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    idle._queues.enqueue(0, "7-fedora-41-x86_64")
    work(idle, monkeypatch, error)
    queues = work(idle, monkeypatch, error)
    (report,) = queues.outbox()
    assert (report.task_id, report.build["status"]) == ("7-fedora-41-x86_64", 0)
    assert "2 faults" in report.build["failure"]
    assert (queues.queued(0), queues.claims()) == ([], {})


def test_the_farms_own_fault_never_fails_a_task(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle._queues.enqueue(0, "7-fedora-41-x86_64")
    for _ in range(20):
        queues = work(idle, monkeypatch, OSError("No space left on device"))
    assert (queues.queued(0), queues.outbox()) == (["7-fedora-41-x86_64"], [])


def test_a_finished_build_outlives_a_redis_that_goes_away(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle._queues.enqueue(0, "7")
    finish, away = idle._queues.finish, [True, True]

    def fails_twice(*args: Any) -> bool:
        if away:
            away.pop()
            raise redis.ConnectionError("gone")
        return finish(*args)

    monkeypatch.setattr(idle._queues, "finish", fails_twice)
    queues = work(idle, monkeypatch, {"task_id": "7", "status": 1})
    assert [report.task_id for report in queues.outbox()] == ["7"]
    assert queues.claims() == {}


def test_a_claim_whose_answer_got_lost_is_dropped(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle._queues.enqueue(0, "7")
    idle._queues.claim(0, idle.name, 1)  # and the answer never came
    monkeypatch.setattr(workdir, "sweep", lambda *_: None)
    monkeypatch.setattr(idle._queues.client, "client_id", lambda: 1, raising=False)
    seen: list[dict[str, str]] = []

    def once(_block: int) -> None:
        seen.append(idle._queues.claims())
        idle._retirement.asked = True

    monkeypatch.setattr(idle, "once", once)
    idle.run()
    assert seen == [{}]


def test_a_success_that_was_canceled_is_not_reported(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle._queues.enqueue(0, "7")
    idle._queues.request_cancel("7")
    queues = work(idle, monkeypatch, {"task_id": "7", "status": 1})
    assert (queues.outbox(), queues.claims()) == ([], {})


def test_a_record_out_of_contract_fails_the_task(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle._queues.enqueue(0, "7")
    queues = work(idle, monkeypatch, ProtocolError("field 'x' is missing"))
    assert "'x'" in queues.outbox()[0].build["failure"]


@pytest.mark.parametrize("outcome", [None, Stopped("taken over")])
def test_what_nobody_wants_is_not_reported(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch, outcome: Any
) -> None:
    idle._queues.enqueue(0, "7")
    queues = work(idle, monkeypatch, outcome)
    assert (queues.queued(0), queues.claims(), queues.outbox()) == ([], {}, [])


def test_a_worker_that_builds_here_asks_nobody_for_a_host(idle: worker.Worker) -> None:
    assert idle._shop.leases is None


def test_a_build_moves_from_host_to_host_but_not_for_ever(
    idle: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle._queues.enqueue(0, "7-fedora-41-x86_64")
    for _ in range(2):
        queues = work(idle, monkeypatch, HostError("host a: gone"))
        assert (queues.queued(0), queues.outbox()) == (["7-fedora-41-x86_64"], [])
    queues = work(idle, monkeypatch, HostError("host b: gone"))
    (report,) = queues.outbox()
    assert "3 hosts failed under it" in report.build["failure"]
    assert "host a: gone" in report.build["failure"]
    assert "host b: gone" in report.build["failure"]
    assert report.build["triage"]["kind"] == "infrastructure"
    assert queues.queued(0) == []
