"""Celery: its default pool, prefork."""

import os
import sys

from celery import Celery

from tests.bench.note import note

URL = os.environ["COPR_BENCH_REDIS"]
app = Celery("bench", broker=URL.replace("unix://", "redis+socket://"))
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task
def noop(number: int) -> None:
    note("task", number)


def command(workers: int) -> list[str]:
    """`celery worker`, without the chatter among nodes that a single one does not need."""
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    here = ["-m", "celery", "-A", "tests.bench.rivals.celery_app", "worker"]
    return [sys.executable, *here, f"--concurrency={workers}", *quiet]


def submit(number: int) -> None:
    noop.delay(number)
