"""`status` and `why` over a Redis with all kinds of things in it."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis

from backend import constants
from backend.commands import control, facts, status, why
from backend.commands.facts import Facts
from backend.commands.master import Master
from backend.commands.text import duration, plain, table
from backend.config import Config, load
from backend.events import Events
from backend.exceptions import CoprBackendError
from backend.frontend import Frontend
from backend.locks import PidFile
from backend.processid import ProcessId
from backend.queues import Queues
from backend.records import Trouble

#: For how long the farm below has been building, on a machine that takes its time.
LATELY = re.compile(r"3m (1[2-9]|[2-5]\d)s")


class Away:
    """A Redis that answers nothing."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __getattr__(self, name: str) -> Any:
        if name == "close":
            return lambda: None
        raise redis.ConnectionError(self.text)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> "redis.Redis":
    client = fakeredis.FakeRedis(decode_responses=True)
    for module in (facts, why):
        monkeypatch.setattr(module, "connect", lambda *_, **__: client)
    return client


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "copr-be.conf"
    keys = ("destdir", "statedir", "rundir", "log_dir")
    path.write_text("[backend]\n" + "".join(f"{key} = {tmp_path / key}\n" for key in keys))
    for key in keys:
        (tmp_path / key).mkdir()
    return load(path)


def worker(client: "redis.Redis", name: str, process: ProcessId, **more: object) -> None:
    key = constants.WORKER_KEY.format(worker=name)
    fields = {"pid": process.pid, "start": process.start, "group": 0, "task": "", **more}
    client.hset(key, mapping={name: str(value) for name, value in fields.items()})
    client.sadd(constants.WORKERS_KEY, name)


def me() -> ProcessId:
    process = ProcessId.of(os.getpid())
    assert process
    return process


@pytest.fixture
def farm(client: "redis.Redis", config: Config) -> Config:
    """Two workers, one of them dead; a queued task, a waiting one, a report, an error."""
    now = time.time()
    worker(client, "0-0-1", me(), task="7-debian-12-x86_64", since=now - 192)
    worker(client, "0-1-2", ProcessId(2**22 + 1, 5), task="8-debian-12-x86_64")
    queues = Queues(client)
    queues.enqueue(0, "9-debian-12-x86_64")
    queues.post({"id": 5, "task_id": "5-debian-12-x86_64"})
    broken = Trouble(task="12-debian-12-x86_64", what="cancel", why="500", since=now - 62, tries=4)
    client.hset(constants.KEPT_KEY, "cancel 12-debian-12-x86_64", json.dumps(vars(broken)))
    record = {"reason": "owner jdoe has 2 builds", "position": 3, "eta": now + 3700, "group": 0}
    client.hset(constants.WAITING_KEY, "10-debian-12-x86_64", json.dumps(record))
    grabber = {"pass": now, "fetched": now - 2, "trouble": "", "backlog": 4, "startable": 1}
    client.hset(constants.GRABBER_KEY, mapping={k: str(v) for k, v in grabber.items()})
    Events(client, "worker-0-1").emit("build 6: disk\x1b[31m full", "error")
    Events(client, "main").emit("all is well")
    return config


def test_a_stopped_daemon_is_3_and_its_log_still_tells(
    client: "redis.Redis", config: Config
) -> None:
    log = config.log_dir / "backend.log"
    log.write_text(
        "2026-01-02T03:04:05Z INFO    main: ready\n"
        "2026-01-02T03:04:06Z ERROR   jobgrab: frontend trouble\n    more of it\n"
    )
    found = facts.gather(config, None, time.time())
    assert found.state == "stopped"
    assert status.exit_code(found) == 3
    assert [(e["level"], e["who"], e["what"]) for e in found.errors] == [
        ("error", "jobgrab", "frontend trouble")
    ]
    assert "copr-backend: not running" in status.render(found, time.time())[0]


def test_a_daemon_that_serves(farm: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Master, "phase", "serving")
    pidfile = PidFile(farm.rundir / "copr-be.pid").acquire()
    try:
        found = facts.gather(farm, None, time.time())
        text = "\n".join(status.render(found, time.time()))
    finally:
        pidfile.release()
    assert found.state == "serving"
    assert found.master
    assert found.master["pid"] == os.getpid()
    assert abs(found.master["since"] - time.time()) < 7 * 86400
    assert status.exit_code(found) == 0
    assert [(w["task"], w["alive"]) for w in found.workers] == [
        ("7-debian-12-x86_64", True),
        ("8-debian-12-x86_64", False),
    ]
    assert LATELY.search(text)
    pieces = ("4194305 is dead", "4 tasks, 1 only for a free worker")
    assert "cancel of 12-debian-12-x86_64, for 1m " in text
    for piece in (
        *pieces,
        "4 times: 500",
        "owner jdoe has 2 builds",
        "about 1h 1m",
        "1 report that the frontend",
    ):
        assert piece in text
    assert "disk [31m full" in text, "no escape sequence reaches the terminal"
    assert "all is well" not in text
    json.dumps(found.__dict__)


def test_a_suspended_daemon_is_1(farm: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessId, "state", "T")
    pidfile = PidFile(farm.rundir / "copr-be.pid").acquire()
    try:
        found = facts.gather(farm, None, time.time())
    finally:
        pidfile.release()
    assert found.state == "suspended"
    assert status.exit_code(found) == 1
    assert any(f"kill -CONT {os.getpid()}" in line for line in status.render(found, time.time()))


@pytest.mark.parametrize(
    ("text", "given", "found"),
    [
        ("[backend]\nrundir = /x/y \nbroken\n", "", "/x/y"),
        ("rundir=/x\n", "/z", "/z"),
        ("#rundir = /x\n", "", "/run/copr-backend"),
    ],
)
def test_the_pid_file_of_a_broken_configuration(
    tmp_path: Path, text: str, given: str, found: str
) -> None:
    path = tmp_path / "be.conf"
    path.write_text(text)
    assert control.guess_pidfile(path, given) == Path(found) / "copr-be.pid"
    assert (
        control.guess_pidfile(tmp_path / "none", given or "/z")
        == Path(given or "/z/") / "copr-be.pid"
    )


def test_a_drained_farm_says_why(farm: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Master, "phase", "serving")
    (farm.statedir / "drained").write_text("2026-01-02T03:04:05Z new disks\n")
    pidfile = PidFile(farm.rundir / "copr-be.pid").acquire()
    try:
        found = facts.gather(farm, None, time.time())
    finally:
        pidfile.release()
    assert found.state == "drained"
    assert any("new disks" in line for line in status.render(found, time.time()))


@pytest.mark.parametrize(("text", "code"), [("Connection refused", 1), ("Permission denied", 4)])
def test_redis_away_or_forbidden(
    config: Config, monkeypatch: pytest.MonkeyPatch, text: str, code: int
) -> None:
    monkeypatch.setattr(facts, "connect", lambda *_, **__: Away(text))
    pidfile = PidFile(config.rundir / "copr-be.pid").acquire()
    try:
        found = facts.gather(config, None, time.time())
    finally:
        pidfile.release()
    assert status.exit_code(found) == code
    assert any(text in line for line in status.render(found, time.time()))


def test_frontend_trouble_is_1(farm: Config, client: "redis.Redis") -> None:
    client.hset(constants.GRABBER_KEY, "trouble", "answered 500")
    pidfile = PidFile(farm.rundir / "copr-be.pid").acquire()
    try:
        assert status.run(farm, None, as_json=True) == 1
    finally:
        pidfile.release()


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ("7", "7-debian-12-x86_64: building for LATELY, worker 0-0, pid "),
        ("8-debian-12-x86_64", "is dead: it goes back to the queue"),
        ("9", "number 1 in the queue of group 0 (PC)"),
        ("10", "waits: owner jdoe has 2 builds; position 3; starts in about 1h 1m"),
        ("5", "the frontend has not taken the report yet"),
        ("12", "12-debian-12-x86_64: its cancel is kept, tried 4 times for 1m "),
    ],
)
def test_why(farm: Config, capsys: pytest.CaptureFixture[str], wanted: str, line: str) -> None:
    assert why.run(farm, wanted) == 0
    assert line in LATELY.sub("LATELY", capsys.readouterr().out)


def test_why_of_something_that_nobody_knows(
    farm: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Frontend, "pending", lambda _: ([], []))
    monkeypatch.setattr(why, "build_state", lambda *_: "")
    with pytest.raises(CoprBackendError, match="77 is no task or build that the frontend knows"):
        why.run(farm, "77")
    monkeypatch.setattr(why, "build_state", lambda *_: "succeeded")
    assert why.run(farm, "77") == 0
    assert "the build is succeeded" in capsys.readouterr().out


def test_a_build_number_means_its_tasks_and_no_others() -> None:
    assert why.matches("42-fedora-41-x86_64", "42")
    assert why.matches("42", "42")
    assert not why.matches("142-fedora-41-x86_64", "42")
    assert not why.matches("42-fedora-41-x86_64", "4")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m"), (192, "3m 12s"), (7500, "2h 5m"), (90000, "1d 1h"),
     (-5, "0s"), (86401, "1d")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_columns_and_plain_text() -> None:
    assert table([("a", "b"), ("long", "c")]) == ["a     b", "long  c"]
    assert plain("x\n\ty\x1b\u202e z") == "x y   z"


def test_no_facts_no_crash() -> None:
    empty = Facts(redis={"where": "x", "trouble": ""}, frontend={"url": "y", "trouble": ""})
    assert status.render(empty, 0)
