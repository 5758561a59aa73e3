"""Where an unfinished task is, and why it waits: from what the job grabber has written down."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis

from backend import constants as names
from backend import hostview
from backend.config import Config
from backend.queues import Queues
from backend.redis_server import connect
from backend.survey import Survey, survey


@dataclass(frozen=True, kw_only=True)
class Place:
    """`place` is waiting, queued, building, reported or unknown; `text` says it to people.

    `position` (1 is next) and `eta` (seconds since the epoch) are known only of what waits.
    """

    place: str
    text: str
    position: int | None = None
    eta: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


#: Task ids → where each is; those that nobody knows are missing.
Explain = Callable[[Sequence[str]], Mapping[str, Place]]


def nothing(_tasks: Sequence[str]) -> Mapping[str, Place]:
    """The answer of one who cannot look."""
    return {}


def explainer(config: Config) -> Explain:
    """Looks into Redis; without Redis nothing is known of any task. From any thread."""
    queues = Queues(connect(config, timeout=2.0))
    groups = [group.id for group in config.groups]

    def look(tasks: Sequence[str]) -> Mapping[str, Place]:
        try:
            return explain(queues, groups, tasks, time.time())
        except (redis.RedisError, OSError):
            return {}

    return look


def explain(
    queues: Queues, groups: Iterable[int], tasks: Sequence[str], now: float
) -> dict[str, Place]:
    """Where each task is. The queues and workers are looked at only for those that do not wait."""
    if not tasks:
        return {}
    waiting = cast(list[str | None], queues.client.hmget(names.WAITING_KEY, list(tasks)))
    found = {
        task: _waiting(json.loads(raw), now)
        for task, raw in zip(tasks, waiting, strict=True)
        if raw is not None
    }
    others = [task for task in tasks if task not in found]
    if others:
        seen = _elsewhere(survey(queues, groups), hostview.waits(queues.client))
        found |= {task: seen[task] for task in others if task in seen}
        unseen = [task for task in others if task not in found]
        before = _before(queues) if unseen else 0
        if before:
            place = Place(place="waiting", text=f"waiting: more than {before} tasks are before it")
            found |= dict.fromkeys(unseen, place)
    return found


def _before(queues: Queues) -> int:
    """How many waiting tasks are written down, if there are more than those; else 0."""
    raw = cast(list[Any], queues.client.hmget(names.GRABBER_KEY, ["listed", "backlog"]))
    listed, backlog = (int(str(text or 0)) for text in raw)
    return listed if backlog > listed else 0


def _waiting(record: Mapping[str, Any], now: float) -> Place:
    position, eta = record["position"], record["eta"]
    text = f"waiting: {record['reason']}, position {position}"
    if eta is not None:
        text += f", starts {_soon(eta - now)}"
    return Place(place="waiting", text=text, position=position, eta=eta)


def _soon(seconds: float) -> str:
    if seconds < 60:
        return "within a minute"
    if seconds < 90 * 60:
        return f"in about {round(seconds / 60)} min"
    return f"in about {round(seconds / 3600)} h"


def _elsewhere(seen: Survey, no_host: Mapping[str, str]) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for tasks in seen.queued.values():
        for task in tasks:
            found[task] = Place(place="queued", text="about to start: in the queue of its group")
    for worker, hand in seen.workers.items():
        if hand.task_id and worker in no_host:
            text = f"waiting: {no_host[worker]}"
            found[hand.task_id] = Place(place="waiting", text=text)
        elif hand.task_id:
            name = worker.rpartition("-")[0]
            found[hand.task_id] = Place(place="building", text=f"building on worker {name}")
    for task in seen.reported:
        text = "finished: its report waits for the frontend"
        found[task] = Place(place="reported", text=text)
    return found
