"""Events: what goes on the stream, and what comes off it."""

from typing import Any

import fakeredis
import pytest
import redis

from backend import constants
from backend.events import UNSENT, Event, Events, follow


@pytest.fixture
def client() -> Any:
    return fakeredis.FakeRedis(decode_responses=True)


def read(client: Any) -> list[Event]:
    return [event for _, event in follow(client, "0", 0.01)]


def test_the_ids_of_a_build_are_read_from_the_text(client: Any) -> None:
    events = Events(client, "jobgrab")
    events.emit("build 42-fedora-41-x86_64: running (me/p)")
    events.emit("build 42: failed: no such thing", "error")
    events.emit("building 42: nothing to read here")
    assert [(event.task, event.build) for event in read(client)] == [
        ("42-fedora-41-x86_64", 42),
        ("42", 42),
        ("", None),
    ]


def test_an_event_carries_kind_task_and_data(client: Any) -> None:
    Events(client, "main").emit(
        "drained", "warning", kind="farm.drained", task="7-debian-12-x86_64", data={"left": 3}
    )
    (event,) = read(client)
    assert (event.kind, event.task, event.build) == ("farm.drained", "7-debian-12-x86_64", 7)
    assert (event.who, event.level, event.data) == ("main", "warning", {"left": 3})


@pytest.mark.parametrize(
    "text", ["", "no json", "[1]", '{"when": "x", "data": 3, "build": true}', '{"when": 1e300}']
)
def test_foreign_entries_are_tolerated(client: Any, text: str) -> None:
    client.xadd(constants.EVENTS_KEY, {"event": text})
    (event,) = read(client)
    assert (event.who, event.when, event.build, event.data) == ("?", 0.0, None, {})


class Flaky:
    """A Redis that is away while `away` is set."""

    def __init__(self, client: Any) -> None:
        self.client, self.away = client, True

    def xadd(self, *args: Any, **kwargs: Any) -> Any:
        if self.away:
            raise redis.ConnectionError("away")
        return self.client.xadd(*args, **kwargs)


def test_events_wait_while_redis_is_away(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    flaky: Any = Flaky(client)
    events = Events(flaky, "main")
    for number in range(UNSENT + 5):
        events.emit(f"lost? {number}")
    assert capsys.readouterr().err.startswith("main: lost? 0\n")
    flaky.away = False
    events.emit("back")
    entries = client.xrange(constants.EVENTS_KEY)
    told = [Event.from_fields(fields).what for _, fields in entries]
    assert told == [*(f"lost? {number}" for number in range(6, UNSENT + 5)), "back"]
    assert capsys.readouterr().err == ""
