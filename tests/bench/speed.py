"""Part a: latency of a single task on an idle system, and tasks per second of many."""

import contextlib
import importlib
import importlib.util
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from backend.process import Child, find
from tests.bench import noop, note, proc
from tests.bench.daemon import (
    NOOP,
    ROOT,
    Client,
    Daemon,
    Database,
    await_cpu_quiet,
    environment,
    load,
    pause,
)

PROJECT = "bench"
#: Modules below tests/bench/rivals.
RIVALS = ("celery", "rq", "dramatiq", "huey")
#: The longest wait for one measurement, in seconds.
PATIENCE = 180.0
_VARIABLE = "COPR_BENCH_REDIS"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured: single tasks, then as many as take about `seconds`."""

    workers: int
    samples: int
    seconds: float


def enough(trial: Callable[[int], float], seconds: float) -> int:
    """How many tasks (or builds) keep a system busy for about `seconds`.

    `trial(count)` runs that many and returns how many it did in a second.
    """
    count, rate = 8, 0.0
    for _ in range(3):  # the first ones are too few to tell
        rate = trial(count)
        count = max(count, min(int(rate * seconds / 4), 2000))
    return max(8, min(int(rate * seconds), 10_000))


def quantiles(seconds: list[float]) -> dict[str, float]:
    """p50, p99 in milliseconds; p99 is the worst of up to a hundred."""
    ordered = sorted(seconds)
    at = min(len(ordered) - 1, int(len(ordered) * 0.99))
    return {"p50_ms": statistics.median(ordered) * 1e3, "p99_ms": ordered[at] * 1e3}


@contextlib.contextmanager
def shared_redis(top: Path) -> Iterator[str]:
    """One redis-server for all, set up as the backend sets up its private one; its URL."""
    home = Path(tempfile.mkdtemp(prefix="redis-", dir=top))
    path = home / "sock"
    private = ["--port", "0", "--unixsocket", str(path), "--dir", str(home), "--save", ""]
    with Child([find("redis-server"), *private, "--appendonly", "yes"]):
        url = f"unix://{path}"
        client = redis.Redis.from_url(url)
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                pause(0.01)
        client.close()
        yield url


@contextlib.contextmanager
def source_server() -> Iterator[str]:
    """Something to download; its base URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as sock:
        argv = [sys.executable, "-m", "tests.bench.source_server", str(sock.fileno())]
        with Child(argv, env=environment(), cwd=ROOT, pass_fds=[sock.fileno()]):
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What all systems of one run have in common."""

    top: Path
    redis_url: str
    board: note.Board


@contextlib.contextmanager
def ground(top: Path) -> Iterator[Ground]:
    """A Redis server and a FIFO."""
    with (
        contextlib.closing(note.Board(top / "notes")) as board,
        shared_redis(top) as redis_url,
    ):
        yield Ground(top=top, redis_url=redis_url, board=board)


# --- ours -----------------------------------------------------------------------------------


class Farm:
    """One daemon with a no-op builder, and the numbers that its builds are known by."""

    def __init__(self, client: Client, database: Database, board: note.Board, url: str) -> None:
        self._client, self._database, self._board = client, database, board
        self._url = url
        self.submitted = 0

    def submit(self, count: int) -> set[int]:
        """That many builds in one request; their numbers."""
        numbers = set(range(self.submitted, self.submitted + count))
        urls = [self._url + noop.FILE_NAME.format(number=number) for number in sorted(numbers)]
        self._client.submit_urls(PROJECT, urls)
        self.submitted += count
        return numbers

    def finish(self, look_every: float) -> float:
        """Wait until all that was submitted is finished; when that was seen."""
        deadline = time.monotonic() + PATIENCE
        while (done := self._database.finished()) < self.submitted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.submitted - done} builds are not finished in time")
            pause(look_every)
        return time.monotonic()

    def latency(self, samples: int) -> dict[str, Any]:
        """Submit one build, see it through, wait a little; so many times."""
        starts, whole = [], []
        for _ in range(samples):
            begin = time.monotonic()
            numbers = self.submit(1)
            end = self.finish(0.005)
            (started,) = self._board.wait("source", numbers, 30).values()
            starts.append(started - begin)
            whole.append(end - begin)
            pause(0.03)  # idle means idle: the last report's echo is over
        return {**quantiles(starts), "whole_build_p50_ms": statistics.median(whole) * 1e3}

    def rate(self, builds: int, each: int) -> float:
        """Builds per second, from the first submission to the last final state."""
        begin = time.monotonic()
        for first in range(0, builds, each):
            self.submit(min(each, builds - first))
        rate = builds / (self.finish(0.02) - begin)
        self._board.read(0)
        return rate


def measure_ours(on: Ground, size: Size) -> dict[str, Any]:
    """The whole path: API, embedded frontend, grabber, queue, worker, report, final state."""
    daemon = Daemon(
        on.top / "farm", workers=size.workers, builder=NOOP, redis_url=on.redis_url, board=on.board
    )
    with daemon, source_server() as url, contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(daemon.client()))
        database = stack.enter_context(contextlib.closing(daemon.database()))
        client.create(PROJECT)
        farm = Farm(client, database, on.board, url)
        farm.submit(2 * size.workers)
        farm.finish(0.02)
        on.board.read(0)
        await_cpu_quiet(daemon.pid)
        before = load()
        answer = farm.latency(size.samples)
        builds = enough(lambda count: farm.rate(count, 50), size.seconds)
        busy = proc.cpu_of_family(daemon.pid)
        single, listed = farm.rate(builds, 1), farm.rate(builds, 50)
        await_cpu_quiet(daemon.pid)
        busy = proc.cpu_of_family(daemon.pid) - busy
        used = [m.private for pid in daemon.idle_workers() if (m := proc.memory(pid))]
    return {
        "name": "copr-backend",
        **answer,
        # Each build is two tasks: the source build, and the RPM build that it releases.
        "tasks_per_s": 2 * max(single, listed),
        "builds_per_s": max(single, listed),
        "tasks": 2 * builds,
        "builds_per_s_one_request_each": single,
        "builds_per_s_50_a_request": listed,
        "cpu_ms_per_task": busy / (4 * builds) * 1e3,
        "private_mib": statistics.median(used) / proc.MIB if used else None,
        "load": [before, load()],
    }


# --- the others -----------------------------------------------------------------------------


def missing(rivals: Sequence[str]) -> list[str]:
    """Those that are not installed."""
    return [name for name in rivals if importlib.util.find_spec(name) is None]


@contextlib.contextmanager
def rival(name: str, on: Ground, workers: int) -> Iterator[tuple[Any, int]]:
    """Its module and the process that its workers belong to; started and warm."""
    os.environ[_VARIABLE] = on.redis_url
    module = importlib.import_module(f"tests.bench.rivals.{name}_app")
    client = redis.Redis.from_url(on.redis_url)
    client.flushall()
    client.close()
    env = environment(**{_VARIABLE: on.redis_url, note.VARIABLE: str(on.board.path)})
    log = (on.top / f"{name}.log").open("ab")
    with log, Child(module.command(workers), env=env, cwd=ROOT, stdout=log) as child:
        numbers = set(range(4 * workers))
        for number in numbers:
            module.submit(number)
        try:
            on.board.wait("task", numbers, 60)
        except TimeoutError as error:
            said = Path(log.name).read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{name} does not work: {error}: {said}") from error
        await_cpu_quiet(child.pid)
        try:
            yield module, child.pid
        finally:
            child.stop(5)


def measure_rival(name: str, on: Ground, size: Size) -> dict[str, Any]:
    """Its queue and workers alone: no frontend, no results kept."""
    before = load()
    with rival(name, on, size.workers) as (module, pid):
        private = worker_memory(pid)
        starts = []
        for number in range(size.samples):
            begin = time.monotonic()
            module.submit(number)
            (started,) = on.board.wait("task", {number}, 30).values()
            starts.append(started - begin)
            pause(0.03)
        run = _Run(module.submit, on.board)
        tasks = enough(run.rate, size.seconds)
        busy = proc.cpu_of_family(pid)
        rate = run.rate(tasks)
        busy = proc.cpu_of_family(pid) - busy
    return {
        "name": name,
        **quantiles(starts),
        "tasks_per_s": rate,
        "tasks": tasks,
        "cpu_ms_per_task": busy / tasks * 1e3,
        "private_mib": private / proc.MIB,
        "load": [before, load()],
    }


class _Run:
    """Many tasks of another system, each with a number of its own."""

    def __init__(self, submit: Callable[[int], None], board: note.Board) -> None:
        self._submit, self._board = submit, board
        self._next = 1_000_000  # the single tasks had smaller ones

    def rate(self, tasks: int) -> float:
        """Tasks per second, from the first submission to the start of the last task."""
        numbers = set(range(self._next, self._next + tasks))
        self._next += tasks
        begin = time.monotonic()
        for number in sorted(numbers):
            self._submit(number)
        return tasks / (max(self._board.wait("task", numbers, PATIENCE).values()) - begin)


def worker_memory(pid: int) -> float:
    """Private bytes of a worker of another system: the median of the processes without children."""
    family, parent = proc.family(pid), set(proc.parents().values())
    found = [m.private for p in family if p not in parent and (m := proc.memory(p))]
    return statistics.median(found)


def measure(on: Ground, size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything of part a, one system after the other."""
    say("copr-backend")
    rows, absent = [measure_ours(on, size)], missing(RIVALS)
    for name in RIVALS:
        if name in absent:
            say(f"{name}: not installed, left out: conf/setup.sh bench installs it")
            continue
        say(name)
        rows.append(measure_rival(name, on, size))
    return {"workers": size.workers, "samples": size.samples, "rows": rows, "absent": absent}
