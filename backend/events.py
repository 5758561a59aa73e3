"""The event bus: one capped Redis stream that every process writes and the log process reads."""

import json
import re
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import redis

from backend.constants import EVENTS_KEY, EVENTS_MAXLEN

LEVELS = ("debug", "info", "warning", "error")
#: Events that a process keeps while Redis is away.
UNSENT = 1000
#: Most events that are read at once.
FULL = 500
_BUILD = re.compile(r"build ((\d{1,18})(?:-[\w.+:~-]*[\w+~])?): ")


@dataclass(frozen=True, kw_only=True)
class Event:
    """`when` in seconds since the epoch, `who` (main, jobgrab, worker-0-1, …), `what` for people.

    For programs, where known: `kind` (`docs/events.md` lists them), `task` and `build` ids, and
    a few values in `data`.
    """

    when: float
    who: str
    what: str
    level: str = "info"
    kind: str = ""
    task: str = ""
    build: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> Self:
        """Read a stream entry, tolerating foreign ones."""
        raw = _object(fields.get("event", ""))
        build, data = raw.get("build"), raw.get("data")
        return cls(
            when=_number(raw.get("when")),
            who=str(raw.get("who", "?")),
            what=str(raw.get("what", "")),
            level=str(raw.get("level", "info")),
            kind=str(raw.get("kind", "")),
            task=str(raw.get("task", "")),
            build=build if isinstance(build, int) and not isinstance(build, bool) else None,
            data=data if isinstance(data, dict) else {},
        )


def _object(text: str) -> dict[str, Any]:
    try:
        raw = json.loads(text)
    except ValueError:
        return {"what": f"unreadable event: {text[:200]!r}", "level": "warning"}
    return raw if isinstance(raw, dict) else {"what": str(raw)[:200]}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e11 else 0.0


class Events:
    """Writes events of one process. An unreachable Redis costs the process nothing: the event
    goes to stderr at once, and to the stream before the next one."""

    def __init__(self, client: "redis.Redis", who: str) -> None:
        self._client = client
        self._who = who
        self._unsent: deque[str] = deque(maxlen=UNSENT)

    def emit(
        self,
        what: str,
        level: str = "info",
        who: str = "",
        *,
        kind: str = "",
        task: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Put one event on the stream.

        The task is read from a text that begins with `build <task id>: ` when it is not given.
        """
        self._unsent.append(self.text(what, level, who, kind=kind, task=task, data=data))
        try:
            self._send()
        except (redis.RedisError, OSError):
            print(f"{who or self._who}: {what}", file=sys.stderr, flush=True)

    def text(
        self,
        what: str,
        level: str = "info",
        who: str = "",
        *,
        kind: str = "",
        task: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> str:
        """The same as the stream has it, for who puts it there with something else."""
        match = _BUILD.match(f"build {task}: " if task else what)
        event: dict[str, Any] = {
            "when": time.time(),
            "who": who or self._who,
            "what": what,
            "level": level,
            "kind": kind,
            "task": match.group(1) if match else "",
            "build": int(match.group(2)) if match else None,
            "data": dict(data or {}),
        }
        return json.dumps({key: value for key, value in event.items() if value})

    def _send(self) -> None:
        while self._unsent:
            text = self._unsent[0]
            self._client.xadd(EVENTS_KEY, {"event": text}, maxlen=EVENTS_MAXLEN, approximate=True)
            self._unsent.popleft()


def follow(client: "redis.Redis", last: str, block: float) -> Iterator[tuple[str, Event]]:
    """Up to FULL events after the id `last`, waiting up to `block` seconds for the first one."""
    answer: Any = client.xread({EVENTS_KEY: last}, count=FULL, block=max(1, int(block * 1000)))
    streams = answer.items() if isinstance(answer, dict) else (answer or [])
    for _, entries in streams:
        for entry_id, fields in entries[0] if isinstance(answer, dict) else entries:
            yield entry_id, Event.from_fields(fields)
