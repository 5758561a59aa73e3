"""The outbox in Redis: finished builds that the frontend has not accepted yet."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import redis

from backend import constants as names
from backend.queues import Report


class Outbox:
    """Reports, and a set of the tasks whose report is (or was) being sent."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def read(self, count: int) -> list[Report]:
        """The oldest reports, at most `count` (0: all)."""
        raw = cast(list[str], self._client.lrange(names.OUTBOX_KEY, 0, count - 1))
        return [Report(text, json.loads(text)) for text in raw]

    def sending(self, reports: Sequence[Report]) -> set[str]:
        """Note that they are about to be sent. Returns the tasks of those that were before,
        and nobody knows with what success."""
        tasks = [report.task_id for report in reports]
        pipe = self._client.pipeline(transaction=True)
        for task in tasks:
            pipe.sadd(names.SENDING_KEY, task)
        added = pipe.execute()
        return {task for task, new in zip(tasks, added, strict=True) if not new}

    def delivered(self, reports: Iterable[Report]) -> None:
        """The frontend has them: forget them and everything about their tasks."""
        pipe: Any = self._client.pipeline(transaction=True)
        for report in reports:
            task = report.task_id
            pipe.lrem(names.OUTBOX_KEY, 1, report.raw)
            pipe.srem(names.SENDING_KEY, task)
            pipe.delete(names.TASK_KEY.format(task=task), names.ATTEMPT_KEY.format(task=task))
            if report.build.get("status") == names.Status.SUCCEEDED and not task.isdigit():
                key = names.DELIVERED_KEY.format(task=task)
                pipe.set(key, 1, ex=names.KEEP_DELIVERED)  # a late cancel changes nothing
        pipe.execute()

    def to_the_end(self, report: Report) -> None:
        """Let the others go first."""
        pipe: Any = self._client.pipeline(transaction=True)
        pipe.lrem(names.OUTBOX_KEY, 1, report.raw)
        pipe.rpush(names.OUTBOX_KEY, report.raw)
        pipe.execute()

    def replace(self, report: Report, build: Mapping[str, Any]) -> None:
        """Send `build` instead, after all others."""
        pipe: Any = self._client.pipeline(transaction=True)
        pipe.lrem(names.OUTBOX_KEY, 1, report.raw)
        pipe.rpush(names.OUTBOX_KEY, json.dumps(dict(build)))
        pipe.execute()
