"""The sentinel's part of the log process: looks at the farm, and acts when it is stalled.

It runs there because that process needs neither the frontend nor the job grabber.
"""

import contextlib
import json
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from backend import constants as names
from backend.config import Config
from backend.events import Events
from backend.processid import ProcessId
from backend.queues import Queues
from backend.sentinel import Sentinel, Step, View, WorkerView

#: Descriptions of stalls that are kept.
KEEP = 10
_INFO = (
    *("redis_version", "role", "uptime_in_seconds", "connected_clients", "blocked_clients"),
    *("used_memory_human", "maxmemory_human", "aof_last_write_status"),
)


@dataclass(frozen=True)
class Seen:
    """What was read: the view to decide on, and who the names are."""

    view: View
    workers: Mapping[str, ProcessId]
    grabber: ProcessId | None
    raw: dict[str, Any]


def _process(raw: Mapping[str, str]) -> ProcessId | None:
    try:
        return ProcessId(int(raw["pid"]), int(raw["start"]))
    except (KeyError, ValueError):
        return None


def _count(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


class Watch:
    """`once` looks when it is time; `period` seconds lie between two looks."""

    def __init__(self, config: Config, client: "redis.Redis", events: Events) -> None:
        self._config, self._client, self._events = config, client, events
        self._queues = Queues(client)
        self._groups = tuple(group.id for group in config.groups if group.max_workers)
        self._sentinel = Sentinel(config.stall_alarm, self._groups)
        self.period = max(0.25, config.stall_alarm / 4) if config.stall_alarm else float("inf")
        self._next = 0.0

    def once(self, now: float) -> None:
        """`now` of the monotonic clock. Raises redis.RedisError."""
        if not self._config.stall_alarm or now < self._next:
            return
        self._next = now + self.period
        try:
            seen = self.see()
        except redis.RedisError:
            self._sentinel.forget()
            raise
        for step in self._sentinel.look(seen.view, now):
            self._apply(step, seen)

    # --- looking --------------------------------------------------------------------------

    def see(self) -> Seen:
        """Read the farm's state. Idle workers are read only when something waits."""
        pipe = self._client.pipeline(transaction=False)
        pipe.hgetall(names.GRABBER_KEY)
        pipe.exists(names.DRAIN_KEY)
        grabber, drained = pipe.execute()
        queued = {g: tasks for g in self._groups if (tasks := self._queues.queued(g))}
        claims = self._queues.claims()
        startable = _count(grabber.get("startable"))
        waiting = bool(queued or startable)
        workers = self._workers(self._queues.workers() if waiting else list(claims))
        found = {name: process for name, raw in workers.items() if (process := _process(raw))}
        holder = _process(grabber)
        view = View(
            workers=tuple(self._view(name, workers[name], found, claims) for name in found),
            queued={g: (tasks[0], self._attempts(tasks[0])) for g, tasks in queued.items()},
            startable=startable,
            started=grabber.get("started", ""),
            silence=_silence(grabber.get("pass")),
            grabber=holder.state if holder else "",
            trouble=bool(grabber.get("trouble")),
            drained=bool(drained),
        )
        raw = {"grabber": grabber, "drained": bool(drained), "queued": queued, "claims": claims}
        return Seen(view, found, holder, raw | {"workers": workers})

    def _workers(self, found: list[str]) -> dict[str, dict[str, str]]:
        pipe = self._client.pipeline(transaction=False)
        for name in found:
            pipe.hgetall(names.WORKER_KEY.format(worker=name))
        return dict(zip(found, pipe.execute(), strict=True))

    @staticmethod
    def _view(
        name: str,
        raw: Mapping[str, str],
        found: Mapping[str, ProcessId],
        claims: Mapping[str, str],
    ) -> WorkerView:
        task = claims.get(name, "")
        return WorkerView(
            name=name,
            group=_count(raw.get("group")),
            state=found[name].state,
            task=task,
            begun=raw.get("task", "") == task,
        )

    def _attempts(self, task: str) -> int:
        return _count(str(self._client.get(names.ATTEMPT_KEY.format(task=task)) or ""))

    # --- acting ---------------------------------------------------------------------------

    def _apply(self, step: Step, seen: Seen) -> None:
        if step.over:
            self._events.emit(step.what, kind="farm.recovered")
            return
        path = self._write_down(step, seen)
        done = [
            *self._signal(step.retire, seen, signal.SIGUSR2, "retired"),
            *self._signal(step.end, seen, signal.SIGKILL, "ended"),
        ]
        if step.grabber and seen.grabber and seen.grabber.signal(signal.SIGKILL):
            done.append("ended the job grabber")
        what = f"the farm is stalled: {step.what}; {', '.join(done) or 'nothing left to try'}"
        data = {"file": path.name} if path else {}
        self._events.emit(f"{what}; state in {path}", "error", kind="farm.stalled", data=data)

    @staticmethod
    def _signal(
        workers: tuple[str, ...], seen: Seen, number: signal.Signals, word: str
    ) -> list[str]:
        reached = [name for name in workers if seen.workers[name].signal(number)]
        more = f" and {len(reached) - 5} more" if len(reached) > 5 else ""
        return [f"{word} worker {' '.join(reached[:5])}{more}"] if reached else []

    def _write_down(self, step: Step, seen: Seen) -> Path | None:
        """The state as JSON in log_dir; the oldest ones go. None when that fails."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = self._config.log_dir / f"stall-{stamp}.json"
        document = {
            "what": step.what,
            **seen.raw,
            "processes": {name: _about(process) for name, process in seen.workers.items()},
            "grabber_process": _about(seen.grabber) if seen.grabber else None,
            "redis": self._redis(),
        }
        try:
            path.write_text(json.dumps(document, indent=1))
            for old in sorted(self._config.log_dir.glob("stall-*.json"))[:-KEEP]:
                old.unlink(missing_ok=True)
        except OSError:
            return None
        return path

    def _redis(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with contextlib.suppress(redis.RedisError):  # not everybody may ask for INFO
            found["outbox"] = self._client.llen(names.OUTBOX_KEY)
            info: Any = self._client.info()
            found |= {key: info.get(key) for key in _INFO}
        return found


def _silence(text: str | None) -> float:
    try:
        return max(0.0, time.time() - float(text or ""))
    except ValueError:
        return 0.0


def _about(process: ProcessId) -> dict[str, Any]:
    """What the kernel says of a process: state, where it waits, its last title."""
    found: dict[str, Any] = {"pid": process.pid, "state": process.state}
    for name in ("wchan", "cmdline"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found[name] = Path(f"/proc/{process.pid}/{name}").read_text().strip("\0")
    return found
