"""The webhook: one message for each finished build, whatever receiver and frontend do."""

import hashlib
import hmac
import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend import spool as spool_module
from backend.config import Config
from backend.daemons.webhook import REPORTED, Webhook, open_spool
from backend.events import Event
from backend.spool import Spool
from backend.webhook import Sender, Target, backoff
from tests.conftest import wait_until

SECRET = "s3cr3t-key"
DAY = 86400.0


class Peer(ThreadingHTTPServer):
    """Frontend and receiver in one: `builds` are answered, `got` is what the hook was told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.builds: dict[int, dict[str, Any]] = {}
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.hook_status = 200
        self.api_status = 200
        self.asked = 0
        self.gate: threading.Event | None = None

    def build(self, number: int, state: str, *chroots: str) -> None:
        self.builds[number] = {"state": state, "chroots": chroots or (state,)}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def deliveries(self) -> list[str]:
        return [fields["X-Copr-Delivery"] for fields, _ in self.got]


class Handler(BaseHTTPRequestHandler):
    server: Peer

    def _answer(self, status: int, document: Any = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.url + "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        peer = self.server
        peer.asked += 1
        number = int(self.path.rpartition("/")[2].rpartition("=")[2])
        found = peer.builds.get(number)
        if found is None or peer.api_status != 200:
            self._answer(404 if found is None else peer.api_status)
        elif "build-chroot" in self.path:
            items = [{"name": f"c{n}", "state": s} for n, s in enumerate(found["chroots"])]
            self._answer(200, {"items": items})
        else:
            source = {"name": "hello", "version": "1-1"}
            names = {"ownername": "me", "projectname": "p", "source_package": source}
            self._answer(200, {"id": number, "state": found["state"], **names})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.gate:
            self.server.gate.wait(100)
        self.server.got.append((dict(self.headers.items()), body))
        self._answer(self.server.hook_status)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (given name)
        pass


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Bench:
    """A sender whose clock only moves when told to."""

    def __init__(self, top: Path, peer: Peer) -> None:
        self.path = top / "webhook.sqlite"
        self.now = 1000.0
        self.said: list[tuple[str, str, str]] = []
        self.target = Target(
            url=peer.url + "/hook/token",
            secret=SECRET,
            timeout=60,
            give_up=3 * DAY,
            frontend=peer.url,
            public="https://copr.example.org",
        )
        self.start()

    def start(self) -> None:
        self.spool = Spool(self.path)
        self.sender = Sender(self.target, self.spool, lambda *said: self.said.append(said))

    def restart(self) -> None:
        """What a kill and a new process come to."""
        self.sender.close()
        self.start()

    def note(self, *builds: int) -> None:
        self.spool.note(builds, self.now)

    def settle(self) -> float:
        """Everything that is due now; returns when more will be."""
        for _ in range(200):
            wait = self.sender.once(self.now)
            if wait > 0:
                return wait
        raise AssertionError("always something due")

    def kinds(self) -> list[str]:
        return [kind for _, _, kind in self.said]


@pytest.fixture
def bench(tmp_path: Path, peer: Peer) -> Iterator[Bench]:
    found = Bench(tmp_path, peer)
    yield found
    found.sender.close()


def test_a_finished_build_is_one_signed_message(bench: Bench, peer: Peer) -> None:
    peer.build(7, "succeeded", "succeeded", "skipped")
    for _ in range(3):  # the reports of its tasks
        bench.note(7)
        bench.settle()
    ((fields, body),) = peer.got
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert fields["X-Hub-Signature-256"] == f"sha256={digest}"
    stamped = fields["X-Copr-Timestamp"].encode() + b"." + body
    digest = hmac.new(SECRET.encode(), stamped, hashlib.sha256).hexdigest()
    assert fields["X-Copr-Signature-256"] == f"sha256={digest}"
    document = json.loads(body)
    assert (document["event"], document["delivery"]) == ("build.finished", "7-succeeded")
    assert fields["X-Copr-Delivery"] == "7-succeeded"
    build = document["build"]
    assert (build["id"], build["state"], build["package"]) == (7, "succeeded", "hello")
    assert build["url"] == "https://copr.example.org/coprs/build/7"
    assert [chroot["state"] for chroot in build["chroots"]] == ["succeeded", "skipped"]
    assert SECRET not in str(peer.got) + str(bench.said)


def test_a_build_with_open_tasks_is_told_once_the_last_one_ends(bench: Bench, peer: Peer) -> None:
    peer.build(7, "running", "succeeded", "running")
    bench.note(7)
    assert bench.settle() == float("inf"), "nobody is asked again before the next report"
    assert peer.got == []
    peer.build(7, "failed", "succeeded", "failed")
    bench.note(7)
    bench.settle()
    assert peer.deliveries() == ["7-failed"]


def test_a_report_during_the_question_is_not_lost(bench: Bench, peer: Peer) -> None:
    """The answer was `running`, and before we put it away the last report came."""
    bench.note(7)
    row, _ = bench.spool.next()
    assert row
    bench.note(7)
    bench.spool.drop(row)
    peer.build(7, "succeeded")
    bench.settle()
    assert peer.deliveries() == ["7-succeeded"]


def test_an_import_that_fails_is_told_though_nobody_reports_it(bench: Bench, peer: Peer) -> None:
    peer.build(7, "importing")
    bench.note(7)
    assert 0 < bench.settle() <= 60
    peer.build(7, "failed")
    bench.now += 60
    bench.settle()
    assert peer.deliveries() == ["7-failed"]


def test_a_canceled_build_waits_for_its_tasks(bench: Bench, peer: Peer) -> None:
    peer.build(7, "canceled", "running")
    bench.note(7)
    wait = bench.settle()
    assert peer.got == []
    peer.build(7, "canceled", "canceled")
    bench.now += wait
    bench.settle()
    assert peer.deliveries() == ["7-canceled"]


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


def test_a_deleted_build_is_forgotten(bench: Bench, peer: Peer) -> None:
    bench.note(7)
    assert bench.settle() == float("inf")
    assert peer.got == []


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


def test_delivered_builds_are_remembered_within_bounds(
    bench: Bench, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "REMEMBERED", 3)
    for number in range(1, 8):
        peer.build(number, "succeeded")
        bench.note(number)
        bench.settle()
    assert len(peer.got) == 7
    bench.note(6)
    bench.settle()
    assert len(peer.got) == 7
    with sqlite3.connect(bench.path) as raw:
        assert raw.execute("SELECT count(*) FROM message").fetchone() == (3,)
    raw.close()


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
