"""What the farm is doing, for pages and metrics: one look into Redis."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import redis

from backend import constants as names
from backend import hostview, layout, publishboard
from backend.config import Config
from backend.publishboard import Board
from backend.queues import Queues
from backend.redis_server import connect
from backend.survey import survey


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """One worker: its group, what it builds (empty: nothing), since when."""

    name: str
    group: int
    task: str = ""
    since: float | None = None


@dataclass(frozen=True, kw_only=True)
class View:
    """`problem` is empty when Redis has answered; else the rest is nothing.

    `grabber` is the hash of the job grabber's last pass, as it wrote it.
    """

    problem: str = ""
    workers: tuple[WorkerView, ...] = ()
    queued: int = 0
    reports: int = 0
    drained: str = ""
    grabber: dict[str, str] = field(default_factory=dict)
    hosts: tuple[dict[str, Any], ...] = ()
    publishing: Board = field(default_factory=Board)
    host_troubles: tuple[dict[str, Any], ...] = ()

    @property
    def full(self) -> str:
        """Which disk has no room for new builds; empty: all have."""
        return self.grabber.get("full", "")

    @property
    def busy(self) -> int:
        """Workers that build."""
        return sum(bool(worker.task) for worker in self.workers)


#: Looks; from any thread.
Look = Callable[[], View]


def nobody() -> View:
    """The view of one who cannot look."""
    return View(problem="this frontend does not see the farm")


def watcher(config: Config) -> Look:
    """Looks into Redis, at most twice a second however many ask."""
    queues = Queues(connect(config, timeout=2.0))
    groups = [group.id for group in config.groups]
    board = layout.publishing(config.statedir)
    pooled = any(group.pooled for group in config.groups)
    kept: list[tuple[float, View]] = []

    def look() -> View:
        now = time.monotonic()
        for at, view in kept[-1:]:
            if now - at < 0.5:
                return view
        try:
            view = _look(queues, groups, pooled=pooled)
        except (redis.RedisError, OSError) as error:
            view = View(problem=f"Redis does not answer: {error}")
        view = replace(view, publishing=publishboard.read(board))
        kept[:] = [(now, view)]
        return view

    return look


def _look(queues: Queues, groups: list[int], *, pooled: bool) -> View:
    seen = survey(queues, groups)
    workers = [
        WorkerView(
            name=name.rpartition("-")[0] or name, group=h.group, task=h.task_id, since=h.since
        )
        for name, h in sorted(seen.workers.items())
    ]
    raw = queues.client.hgetall(names.GRABBER_KEY)
    assert isinstance(raw, dict)
    return View(
        workers=tuple(workers),
        queued=sum(len(tasks) for tasks in seen.queued.values()),
        reports=len(seen.reported),
        drained=seen.drained,
        grabber={str(key): str(value) for key, value in raw.items()},
        hosts=tuple(hostview.hosts(queues.client)) if pooled else (),
        host_troubles=tuple(hostview.troubles(queues.client)) if pooled else (),
    )
