"""Dramatiq: as many processes, one thread in each."""

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.bench.note import note

URL = os.environ["COPR_BENCH_REDIS"]
dramatiq.set_broker(RedisBroker(url=URL))


@dramatiq.actor
def noop(number: int) -> None:
    note("task", number)


def command(workers: int) -> list[str]:
    """`dramatiq`."""
    here = ["-m", "dramatiq", "tests.bench.rivals.dramatiq_app"]
    return [sys.executable, *here, "--processes", str(workers), "--threads", "1"]


def submit(number: int) -> None:
    noop.send(number)
