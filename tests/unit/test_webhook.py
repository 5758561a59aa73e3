"""The webhook: one message for each finished build, whatever receiver and frontend do."""

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import spool as spool_module
from tests.serving import served
from tests.unit.hookpeer import SECRET, Bench, Peer, running


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served(Peer()) as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, peer: Peer) -> Iterator[Bench]:
    with running(tmp_path, peer) as found:
        yield found


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


def test_a_deleted_build_is_forgotten(bench: Bench, peer: Peer) -> None:
    bench.note(7)
    assert bench.settle() == float("inf")
    assert peer.got == []


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
