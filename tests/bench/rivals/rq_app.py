"""RQ: a pool of its default workers, which fork for every job."""

import os
import sys

import redis
from rq import Queue

from tests.bench.note import note

URL = os.environ["COPR_BENCH_REDIS"]
_queue = Queue("bench", connection=redis.Redis.from_url(URL))


def noop(number: int) -> None:
    note("task", number)


def command(workers: int) -> list[str]:
    """`rq worker-pool`."""
    options = ["--num-workers", str(workers), "--url", URL, "--quiet"]
    return [sys.executable, "-m", "rq.cli", "worker-pool", "bench", *options]


def submit(number: int) -> None:
    _queue.enqueue(noop, number, result_ttl=0)
