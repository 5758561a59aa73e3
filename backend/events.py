"""The event bus: one capped Redis stream that every process writes and the log process reads."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import redis

from backend.constants import EVENTS_KEY, EVENTS_MAXLEN

LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, kw_only=True)
class Event:
    """`when` in seconds since the epoch, `who` (main, jobgrab, worker-0-1, …), `what`."""

    when: float
    who: str
    what: str
    level: str = "info"

    @classmethod
    def from_fields(cls, fields: dict[str, str]) -> Self:
        """Read a stream entry, tolerating foreign ones."""
        raw: dict[str, Any] = json.loads(fields.get("event", "{}"))
        return cls(
            when=float(raw.get("when", 0)),
            who=str(raw.get("who", "?")),
            what=str(raw.get("what", "")),
            level=str(raw.get("level", "info")),
        )


class Events:
    """Writes events of one process. An unreachable Redis costs the event, never the process:
    it goes to stderr instead."""

    def __init__(self, client: "redis.Redis", who: str) -> None:
        self._client = client
        self._who = who

    def emit(self, what: str, level: str = "info", who: str = "") -> None:
        """Put one event on the stream."""
        event = {"when": time.time(), "who": who or self._who, "what": what, "level": level}
        try:
            self._client.xadd(
                EVENTS_KEY, {"event": json.dumps(event)}, maxlen=EVENTS_MAXLEN, approximate=True
            )
        except (redis.RedisError, OSError):
            print(f"{self._who}: {what}", file=sys.stderr, flush=True)


def follow(client: "redis.Redis", last: str, block: float) -> Iterator[tuple[str, Event]]:
    """Events after the id `last`, waiting up to `block` seconds for the first one."""
    answer: Any = client.xread({EVENTS_KEY: last}, count=500, block=max(1, int(block * 1000)))
    streams = answer.items() if isinstance(answer, dict) else (answer or [])
    for _, entries in streams:
        for entry_id, fields in entries[0] if isinstance(answer, dict) else entries:
            yield entry_id, Event.from_fields(fields)
