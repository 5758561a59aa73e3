"""Huey: worker processes."""

import os
import sys

from huey import RedisHuey

from tests.bench.note import note

URL = os.environ["COPR_BENCH_REDIS"]
huey = RedisHuey("bench", url=URL, results=False)


@huey.task()
def noop(number: int) -> None:
    note("task", number)


def command(workers: int) -> list[str]:
    """`huey_consumer`."""
    program = ["-m", "huey.bin.huey_consumer"]
    options = ["-w", str(workers), "-k", "process", "--quiet"]
    return [sys.executable, *program, "tests.bench.rivals.huey_app.huey", *options]


def submit(number: int) -> None:
    noop(number)
