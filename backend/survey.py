"""One look at everything in Redis: queues, claims, outbox, in one transaction."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from backend import constants as names
from backend import wake
from backend.exceptions import ProtocolError
from backend.processid import ProcessId
from backend.queues import Queues, task_of


@dataclass(frozen=True, kw_only=True)
class Hand:
    """A registered worker: its process (None: it never said), its group (-1: nobody knows),
    what it holds, since when (seconds since the epoch)."""

    process: ProcessId | None
    group: int
    task_id: str
    since: float | None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """`queued`: group → task ids, next one first. `reported`: task ids in the outbox."""

    queued: dict[int, list[str]]
    workers: dict[str, Hand]
    reported: list[str]
    drained: str


def survey(queues: Queues, groups: Iterable[int], mark: str = "") -> Survey:
    """Look. All messages about what happened before the look arrive before a wake message
    `mark` with this text."""
    workers = queues.workers()
    numbers = list(groups)
    pipe: Any = queues.client.pipeline(transaction=True)
    for group in numbers:
        pipe.lrange(names.QUEUE_KEY.format(group=group), 0, -1)
    for worker in workers:
        pipe.hgetall(names.WORKER_KEY.format(worker=worker))
        pipe.lindex(names.CLAIM_KEY.format(worker=worker), 0)
    pipe.lrange(names.OUTBOX_KEY, 0, -1)
    pipe.get(names.DRAIN_KEY)
    if mark:
        pipe.publish(names.WAKE_CHANNEL, wake.encode("mark", ended=mark))
    found = iter(pipe.execute())
    queued = {group: _readable(queues, group, next(found)) for group in numbers}
    hands = {worker: _hand(worker, next(found), next(found)) for worker in workers}
    reported = [str(json.loads(raw)["task_id"]) for raw in next(found)]
    return Survey(queued=queued, workers=hands, reported=reported, drained=next(found) or "")


def _readable(queues: Queues, group: int, payloads: list[str]) -> list[str]:
    tasks = []
    for payload in reversed(payloads):
        try:
            tasks.append(task_of(payload))
        except ProtocolError:
            queues.client.lrem(names.QUEUE_KEY.format(group=group), 1, payload)
    return tasks


def _hand(worker: str, raw: dict[str, str], payload: str | None) -> Hand:
    try:
        process = ProcessId(int(raw["pid"]), int(raw["start"]))
    except (KeyError, ValueError):
        process = None
    group = raw.get("group") or worker.partition("-")[0]
    task_id = ""
    if payload is not None:
        try:
            task_id = task_of(payload)
        except ProtocolError:
            task_id = ""
    try:
        since: float | None = float(raw["since"])
    except (KeyError, ValueError):
        since = None
    return Hand(
        process=process, group=int(group) if group.isdecimal() else -1, task_id=task_id, since=since
    )
