"""The worker's Redis client answers as redis-py's own does, over a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from backend.constants import EVENTS_KEY, OUTBOX_KEY
from backend.line import Line
from backend.queues import Queues
from tests.integration.masters import redis_server

pytestmark = pytest.mark.redis


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "s")
    with redis_server(tmp_path, 0, path):
        yield path


@pytest.fixture
def plain(path: str) -> Iterator[Any]:
    with redis.Redis(unix_socket_path=path, decode_responses=True) as client:
        yield client


@pytest.fixture
def line(path: str) -> Iterator[Any]:
    with Line(unix_socket_path=path, decode_responses=True) as client:
        yield client


def commands(client: Any, transaction: bool) -> list[Any]:
    pipe = client.pipeline(transaction=transaction)
    pipe.delete("h", "s", "z", "l", "n")
    pipe.hset("h", mapping={"a": 1})
    pipe.hgetall("h")
    pipe.hmget("h", "a", "b")
    pipe.sadd("s", "x")
    pipe.smembers("s")
    pipe.zadd("z", {"m": 1.5})
    pipe.zscore("z", "m")
    pipe.rpush("l", "1", "2")
    pipe.lrange("l", 0, -1)
    pipe.lmove("l", "k", "LEFT", "RIGHT")
    pipe.incr("n")
    pipe.get("n")
    pipe.exists("n")
    pipe.xadd("x", {"event": "e"}, id="*", maxlen=10)
    found: list[Any] = pipe.execute()
    return found[1:-1]  # how many were deleted, and an id with the time, differ


@pytest.mark.parametrize("transaction", [False, True])
def test_pipelines_answer_alike(line: Any, plain: Any, transaction: bool) -> None:
    assert commands(line, transaction) == commands(plain, transaction)
    assert line.pipeline(transaction=transaction).execute() == []


@pytest.mark.parametrize("transaction", [False, True])
def test_an_error_in_a_pipeline_is_raised_after_the_last_answer(
    line: Any, transaction: bool
) -> None:
    line.set("text", "x")
    pipe = line.pipeline(transaction=transaction)
    pipe.incr("text").set("after", "1")
    with pytest.raises(redis.ResponseError, match="not an integer"):
        pipe.execute()
    assert line.get("after") == "1"
    pipe.incr("text").get("after")
    assert [str(one) for one in pipe.execute(raise_on_error=False)][1] == "1"


def test_a_transaction_with_an_impossible_command_does_nothing(line: Any) -> None:
    pipe = line.pipeline(transaction=True)
    pipe.set("never", "1").execute_command("NONSENSE")
    with pytest.raises(redis.ResponseError, match="unknown command"):
        pipe.execute()
    assert line.get("never") is None


def test_a_connection_that_the_server_has_closed_is_opened_anew(line: Any, plain: Any) -> None:
    number = line.client_id()
    assert plain.execute_command("CLIENT KILL ID", number) == 1
    assert line.ping()
    assert line.client_id() != number
    assert line.pipeline().ping().execute() == [True]


def test_a_blocking_command_that_times_out_leaves_nothing_behind(path: str) -> None:
    with Line(unix_socket_path=path, decode_responses=True, socket_timeout=2) as line:
        client: Any = line
        with pytest.raises(redis.TimeoutError):
            client.blmove("empty", "other", 30, "RIGHT", "LEFT")
        client.set("a", "1")
        assert client.get("a") == "1"


def test_a_server_that_has_forgotten_the_script_is_told_again(line: Any) -> None:
    queues = Queues(line)
    for task in ("1", "2"):
        queues.enqueue(0, task)
        claim = queues.claim(0, "w", 1)
        assert claim
        report = {"task_id": task, "status": 1}
        assert queues.finish(claim, report, f"event {task}")
        line.script_flush()
    assert line.llen(OUTBOX_KEY) == 2
    assert [fields["event"] for _, fields in line.xrange(EVENTS_KEY)] == ["event 1", "event 2"]
