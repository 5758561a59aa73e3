"""Retiring real workers over a real Redis: nothing is lost, whatever they are doing."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from backend import build
from backend.config import Config, load
from backend.daemons import worker
from backend.queues import Queues
from tests.conftest import wait_until
from tests.integration.masters import redis_server
from tests.ports import free_port

pytestmark = pytest.mark.redis


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    port = free_port()
    path = tmp_path / "copr-be.conf"
    path.write_text(f"[backend]\nstatedir={tmp_path}\nredis_url=redis://127.0.0.1:{port}/0\n")
    with redis_server(tmp_path, port):
        yield load(path)


@pytest.fixture
def start(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], int]]:
    """Forks a worker whose builds are the given function; returns its pid."""
    pids = []

    def fork(run: Any) -> int:
        monkeypatch.setattr(build, "run", run)
        me = os.getpid()
        pid = os.fork()
        if pid == 0:
            fixed: Any = {"number": 0, "slot": 0, "password": "x", "builder": None}
            worker.main(config, config.groups[0], parent=me, **fixed)
        pids.append(pid)
        return pid

    yield fork
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture
def queues(config: Config) -> Iterator[Queues]:
    with redis.Redis.from_url(config.redis_url, decode_responses=True) as client:
        yield Queues(client)


def ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def exit_code(pid: int) -> int:
    wait_until(partial(ended, pid), 10, "the worker's end")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_an_idle_worker_goes_at_once(start: Callable[[Any], int], queues: Queues) -> None:
    pid = start(lambda *_: None)
    wait_until(lambda: queues.client.info("clients")["blocked_clients"] == 1, 10)
    os.kill(pid, signal.SIGUSR2)
    wait_until(partial(ended, pid), 2, "the idle worker's end")
    assert exit_code(pid) == 0


def test_a_busy_worker_finishes_first(
    start: Callable[[Any], int], queues: Queues, tmp_path: Path
) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"

    def run(*_: Any) -> dict[str, object]:
        begun.touch()
        wait_until(gate.exists)
        return {"task_id": "1", "status": 1}

    pid = start(run)
    queues.enqueue(0, "1")
    queues.enqueue(0, "2")
    wait_until(begun.exists, 10)
    os.kill(pid, signal.SIGUSR2)
    assert not ended(pid)
    gate.touch()
    assert exit_code(pid) == 0
    assert [report.task_id for report in queues.outbox()] == ["1"]
    assert (queues.queued(0), queues.claims()) == (["2"], {})


def test_retiring_at_any_moment_loses_no_task(start: Callable[[Any], int], queues: Queues) -> None:
    def run(_: Any, claim: Any) -> dict[str, object]:
        return {"task_id": claim.task_id, "status": 1}

    tasks = [str(number) for number in range(30)]
    for task in tasks:
        pid = start(run)
        # The task and the signal race; sometimes the worker has not even begun.
        wait_until(lambda: queues.workers() != [], 10)
        queues.enqueue(0, task)
        os.kill(pid, signal.SIGUSR2)
        assert exit_code(pid) == 0
        for name in queues.workers():
            queues.bury(name)
    assert queues.claims() == {}
    done = [report.task_id for report in queues.outbox()]
    assert sorted([*done, *queues.queued(0)], key=int) == tasks
