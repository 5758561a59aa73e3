"""Log files and webhook of the real daemon; kills are real."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backend.events import Events
from tests.conftest import wait_until
from tests.integration.farm import Farm, make_srpm, running
from tests.serving import served

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]


class Receiver(ThreadingHTTPServer):
    """Keeps the ids of the messages that it answered with 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken: list[str] = []
        self.refused = 0
        self.open = True


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        welcome = self.server.open
        if welcome:
            self.server.taken.append(body["delivery"])
        else:
            self.server.refused += 1
        self.send_response(200 if welcome else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (given name)
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with served(Receiver()) as server:
        yield server


@pytest.fixture(scope="module")
def srpms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("srpms")
    make_srpm(top, "good")
    make_srpm(top, "bad", "false")
    make_srpm(top, "slow", "echo BUILDING; sleep 600")
    return top / "SRPMS"


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def log_pid(farm: Farm) -> int:
    wait_until(lambda: len(farm.titled(": log")) == 1, 20, "the log process")
    return farm.titled(": log")[0]


def test_one_message_for_each_build_over_kills_and_a_restart(
    srpms: Path, receiver: Receiver
) -> None:
    hook = {"webhook__url": f"http://127.0.0.1:{receiver.server_port}/x", "webhook__secret": "k"}
    with running(**hook) as farm:
        farm.create()
        good = farm.submit(srpms / "good-1-1.src.rpm")
        wait_until(lambda: receiver.taken == [f"{good}-succeeded"], 60, "the first message")
        bad, slow = (farm.submit(srpms / f"{name}-1-1.src.rpm") for name in ("bad", "slow"))
        farm.wait(slow, "running")
        wait_until(lambda: len(receiver.taken) == 2, 60, "the second message")
        receiver.open = False
        farm.api("PUT", f"build/cancel/{slow}")
        wait_until(lambda: receiver.refused > 0, 60, "a refused message")
        os.kill(log_pid(farm), signal.SIGKILL)
        assert farm.stop() == 0
        receiver.open = True
        farm.start()
        wait_until(lambda: len(receiver.taken) > 2, 60, "the third message")
        last = farm.submit(srpms / "good-1-1.src.rpm")
        wait_until(lambda: len(receiver.taken) > 3, 60, "the fourth message")
    wanted = [f"{good}-succeeded", f"{bad}-failed", f"{slow}-canceled", f"{last}-succeeded"]
    assert receiver.taken == wanted


def test_a_log_process_killed_again_and_again_loses_nothing_and_doubles_nothing() -> None:
    with running() as farm:
        path = farm.top / "log" / "backend.log"
        client = farm.redis
        events = Events(client, "tester")
        count = 0
        for _ in range(4):
            pid = log_pid(farm)
            for _ in range(1500):
                events.emit(f"number {count}")
                count += 1
            os.kill(pid, signal.SIGKILL)
            wait_until(partial(gone, pid), 20)
        events.emit("that was all", "error", kind="test.end")
        wait_until(lambda: "that was all" in path.read_text(), 60, "the last event")
        numbers = [
            line.rpartition(" ")[2] for line in path.read_text().splitlines() if "tester" in line
        ]
        assert Counter(numbers[:-1]) == Counter(str(number) for number in range(count))
        client.close()


def test_the_log_file_may_be_renamed_and_ends_with_the_end() -> None:
    with running() as farm:
        path = farm.top / "log" / "backend.log"
        wait_until(lambda: path.exists() and "ready, serving" in path.read_text(), 20)
        path.rename(path.with_suffix(".1"))
        pid = log_pid(farm)
        os.kill(pid, signal.SIGUSR1)
        client = farm.redis
        Events(client, "tester").emit("after the rename")
        client.close()
        wait_until(lambda: path.exists() and "after the rename" in path.read_text(), 20)
        assert log_pid(farm) == pid
        assert farm.stop() == 0
        assert path.read_text().splitlines()[-1].endswith(" main: stopped")
