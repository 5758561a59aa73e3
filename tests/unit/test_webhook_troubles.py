"""The webhook, while its receiver, the frontend or the disk are in trouble."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend.config import Config
from backend.daemons.webhook import REPORTED, Webhook, open_spool
from backend.events import Event
from backend.spool import Spool
from backend.webhook import Sender, Target, backoff
from tests.conftest import wait_until
from tests.serving import served
from tests.unit.hookpeer import DAY, SECRET, Bench, Peer, running


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served(Peer()) as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, peer: Peer) -> Iterator[Bench]:
    with running(tmp_path, peer) as found:
        yield found


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_message_is_retried_with_the_same_id_over_restarts(
    bench: Bench, peer: Peer, status: int
) -> None:
    peer.build(7, "succeeded")
    peer.hook_status = status
    bench.note(7)
    waits = []
    for _ in range(5):
        waits.append(bench.settle())
        bench.now += waits[-1]
        bench.restart()
    assert waits == sorted(waits)
    assert waits[-1] > 3 * waits[0]
    peer.hook_status = 200
    bench.now += 3600
    bench.settle()
    assert len(peer.got) == 6
    assert set(peer.deliveries()) == {"7-succeeded"}
    assert len({body for _, body in peer.got}) == 1
    assert bench.settle() == float("inf")


def test_a_message_nobody_takes_is_given_up_with_an_error(bench: Bench, peer: Peer) -> None:
    peer.build(7, "succeeded")
    peer.hook_status = 503
    bench.note(7)
    bench.settle()
    bench.now += 3 * DAY + 1
    assert bench.settle() == float("inf")
    assert bench.said[-1] == (
        "build 7: webhook given up: not delivered for 3 days",
        "error",
        "webhook.dead",
    )
    bench.note(7)
    bench.settle()
    assert len(peer.got) == 1


def test_trouble_is_said_once_and_names_no_secret(bench: Bench, peer: Peer) -> None:
    for number in range(1, 6):
        peer.build(number, "succeeded")
    peer.hook_status = 500
    bench.note(1, 2, 3, 4, 5)
    bench.settle()
    (said,) = bench.said
    assert said[0] == f"webhook: {peer.url} does not take messages: it answered 500"
    assert len(peer.got) == 1, "one try tells enough"
    peer.hook_status = 200
    bench.now += 120
    bench.settle()
    assert sorted(peer.deliveries()[1:]) == [f"{n}-succeeded" for n in range(1, 6)]


def test_a_frontend_in_trouble_is_asked_again(bench: Bench, peer: Peer) -> None:
    peer.build(7, "succeeded")
    peer.api_status = 500
    bench.note(7)
    bench.now += bench.settle()
    peer.api_status = 200
    bench.settle()
    assert peer.deliveries() == ["7-succeeded"]
    assert bench.kinds() == ["webhook.trouble", "webhook.sent"]


def test_a_receiver_that_is_not_there_is_named(bench: Bench, peer: Peer, tmp_path: Path) -> None:
    peer.build(7, "succeeded")
    target = Target(**{**vars(bench.target), "url": "http://127.0.0.1:9/hook/token"})
    sender = Sender(target, bench.spool, lambda *said: bench.said.append(said))
    bench.note(7)
    while sender.once(bench.now) == 0:
        pass
    text = bench.said[0][0]
    assert "http://127.0.0.1:9 does not take messages" in text
    assert "refused" in text
    assert "token" not in text


@pytest.mark.parametrize("tries", [0, 5, 10_000])
def test_backoff_is_bounded(tries: int) -> None:
    assert 1 < backoff(tries) <= 3600


def config(top: Path, peer: Peer) -> Config:
    values = {
        "statedir": top,
        "rundir": top,
        "redis_url": "",
        "webhook_url": peer.url,
        "webhook_secret": SECRET,
        "webhook_timeout": 60,
        "webhook_give_up": 1000,
        "frontend_url": peer.url,
        "frontend_base_url": "",
        "public_url": peer.url,
    }
    return cast(Config, SimpleNamespace(**values))


def reported(build: int) -> Event:
    return Event(when=0, who="jobgrab", what="", kind=REPORTED, build=build)


def test_a_hanging_receiver_holds_nobody_up(tmp_path: Path, peer: Peer) -> None:
    peer.gate = threading.Event()
    peer.build(1, "succeeded")
    peer.build(2, "succeeded")
    hook = Webhook(config(tmp_path, peer))
    hook.start()
    hook.sink([reported(1), reported(1), Event(when=0, who="main", what="else", build=9)])
    wait_until(lambda: peer.asked == 2, what="the question to the frontend")
    hook.sink([reported(2)])  # returns, though the thread hangs in its POST
    assert peer.got == []
    peer.gate.set()
    wait_until(lambda: len(peer.got) == 2)
    assert peer.deliveries() == ["1-succeeded", "2-succeeded"]
    assert (tmp_path / "webhook.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_damaged_database_is_closed_and_put_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "webhook.sqlite"
    path.write_bytes(b"no database at all" * 100)
    made: list[sqlite3.Connection] = []

    def connect(*words: Any, **named: Any) -> sqlite3.Connection:
        made.append(real(*words, **named))
        return made[-1]

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)
    spool = open_spool(path)
    spool.note([1], 1.0)
    spool.close()
    damaged, _ = made
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        damaged.execute("SELECT 1")
    assert (tmp_path / "webhook.broken").exists()
    assert "put aside" in capsys.readouterr().err


def test_builds_that_cannot_be_noted_are_noted_later(
    tmp_path: Path, peer: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state" / "webhook.sqlite"
    hook = Webhook(cast(Config, SimpleNamespace(statedir=path.parent)))
    hook.sink([reported(1)])
    hook.sink([reported(2)])
    assert capsys.readouterr().err.count("No such file") == 1
    path.parent.mkdir()
    hook.sink([])
    hook.close()
    spool = Spool(path)
    row, _ = spool.next()
    assert row
    spool.drop(row)
    other, _ = spool.next()
    spool.close()
    assert other
    assert {row.build, other.build} == {1, 2}
