"""Gathers what a running (or stopped) farm can tell: from /proc, Redis and the log files."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import redis

from backend import __version__, constants, hostview, layout, publishboard
from backend.commands.master import Master
from backend.config import Config
from backend.events import Event
from backend.processid import ProcessId
from backend.queues import Queues
from backend.records import troubles
from backend.redis_server import connect

#: How much of the event stream, and of the log file, is searched for errors.
EVENTS, LOG_TAIL = 3000, 256 * 1024
ERRORS_SHOWN, WAITING_SHOWN = 5, 20


@dataclass
class Facts:
    """Everything `status` shows, as plain values that go into JSON as they are."""

    version: str = __version__
    config: str = ""
    #: stopped, starting, serving, drained, stopping, suspended, unknown
    state: str = "unknown"
    master: dict[str, Any] | None = None
    killed: str = ""
    drained: str | None = None
    #: Which disk has no room for new builds.
    full: str = ""
    redis: dict[str, Any] = field(default_factory=dict)
    frontend: dict[str, Any] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    workers: list[dict[str, Any]] = field(default_factory=list)
    backlog: int | None = None
    startable: int | None = None
    outbox: int | None = None
    #: What fails for single tasks, and is tried again.
    kept: list[dict[str, Any]] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    hosts: list[dict[str, Any]] = field(default_factory=list)
    #: Who publishes or waits for that, and which repositories cannot be published.
    publishing: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    host_troubles: list[dict[str, Any]] = field(default_factory=list)


def gather(config: Config, pidfile: Path | None, now: float) -> Facts:
    """Look everywhere; what cannot be looked at is a text in the facts, never an error."""
    facts = Facts(config=str(config.path))
    master = Master.find(config, pidfile)
    if master:
        facts.master = {"pid": master.process.pid, "since": round(master.since, 1)}
    else:
        facts.killed = _left_pid(pidfile or config.rundir / "copr-be.pid")
    facts.frontend = {"url": config.frontend_url, "embedded": config.embedded, "trouble": ""}
    facts.drained = drain_note(config)
    facts.groups = [
        {"id": g.id, "name": g.name, "archs": list(g.archs), "max_workers": g.max_workers}
        for g in config.groups
    ]
    facts.publishing = asdict(publishboard.read(layout.publishing(config.statedir)))
    _ask_redis(config, facts, now, running=master is not None)
    facts.state = master.phase if master else "stopped"
    if facts.state == "serving" and facts.drained is not None:
        facts.state = "drained"
    if not facts.errors:
        facts.errors = log_errors(config.log_dir / "backend.log")
    return facts


def _left_pid(path: Path) -> str:
    """The number in a pid file that nobody holds: a daemon that stopped would have removed it."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def drain_note(config: Config) -> str | None:
    """When and why the farm was drained, in one line; None if it is not, or not to be seen."""
    try:
        return " ".join((config.statedir / "drained").read_text(encoding="utf-8").split())
    except OSError:
        return None


def _ask_redis(config: Config, facts: Facts, now: float, *, running: bool) -> None:
    """Fill in what Redis knows."""
    facts.redis = {"where": where(config), "trouble": ""}
    if not running and not config.redis_url:
        facts.redis["trouble"] = "runs only with the daemon"
        return
    client = connect(config, timeout=3.0)
    try:
        _read(client, facts, now)
    except (redis.RedisError, OSError, ValueError) as error:
        facts.redis["trouble"] = trouble(error)
    finally:
        client.close()


def where(config: Config) -> str:
    """The Redis in use, without its password."""
    if not config.redis_url:
        return "private redis-server"
    scheme, _, rest = config.redis_url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def trouble(error: Exception) -> str:
    """What is wrong with Redis, and what to do, in one line."""
    text = " ".join(str(error).split())
    if "Permission denied" in text:
        return f"{text}: run this as root or as the daemon's user"
    if isinstance(error, redis.AuthenticationError) or "HELLO AUTH" in text:
        return f"{text.partition('HELLO')[0] or 'it wants a password'}: write it into redis_url"
    return text or type(error).__name__


def _read(client: "redis.Redis", facts: Facts, now: float) -> None:
    queues = Queues(client)
    client.ping()
    facts.workers = [w for name in queues.workers() if (w := _worker(client, name, now))]
    facts.workers.sort(key=lambda worker: (worker["group"], worker["name"]))
    for group in facts.groups:
        own = [worker for worker in facts.workers if worker["group"] == group["id"]]
        group["workers"] = sum(worker["alive"] for worker in own)
        group["busy"] = sum(bool(worker["task"]) for worker in own)
        group["queued"] = len(queues.queued(group["id"]))
    facts.hosts = hostview.hosts(client)
    facts.host_troubles = hostview.troubles(client)
    no_host = hostview.waits(client)
    for worker in facts.workers:
        worker["waits"] = no_host.get(worker["name"])
    facts.outbox = int(client.llen(constants.OUTBOX_KEY))
    facts.kept = [asdict(trouble) for trouble in troubles(client)]
    if (reason := client.get(constants.DRAIN_KEY)) is not None:
        facts.drained = facts.drained or str(reason)
    facts.errors = _stream_errors(client)
    _waiting(client, facts)
    _grabber(client, facts)


def _worker(client: "redis.Redis", name: str, now: float) -> dict[str, Any] | None:
    raw = cast(dict[str, str], client.hgetall(constants.WORKER_KEY.format(worker=name)))
    try:
        process, group = ProcessId(int(raw["pid"]), int(raw["start"])), int(raw["group"])
    except (KeyError, ValueError):
        return None
    task = raw.get("task", "")
    since = float(raw.get("since") or 0) if task else 0.0
    return {
        "name": name,
        "group": group,
        "pid": process.pid,
        "alive": process.alive,
        "task": task,
        "since": since or None,
        "seconds": round(now - since, 1) if since else None,
    }


def _grabber(client: "redis.Redis", facts: Facts) -> None:
    raw = cast(dict[str, str], client.hgetall(constants.GRABBER_KEY))
    if not raw:
        return
    facts.backlog = int(raw.get("backlog") or 0)
    facts.startable = int(raw.get("startable") or 0)
    facts.frontend["trouble"] = raw.get("trouble", "")
    facts.full = raw.get("full", "")
    facts.frontend["fetched"] = float(raw.get("fetched") or 0) or None


def _waiting(client: "redis.Redis", facts: Facts) -> None:
    records = waiting(client)
    facts.reasons = dict(Counter(str(r.get("reason", "")) for r in records.values()).most_common())
    ranked = sorted(records.items(), key=lambda item: item[1].get("position") or 10**9)
    facts.waiting = [{"task": task, **record} for task, record in ranked[:WAITING_SHOWN]]


def waiting(client: "redis.Redis") -> dict[str, Mapping[str, Any]]:
    """Task id → why it waits, as the job grabber last wrote it."""
    raw = cast(dict[str, str], client.hgetall(constants.WAITING_KEY))
    return {task: json.loads(text) for task, text in raw.items()}


def _stream_errors(client: "redis.Redis") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _, fields in cast(Any, client.xrevrange(constants.EVENTS_KEY, count=EVENTS)):
        event = Event.from_fields(fields)
        if event.level in ("warning", "error") and len(found) < ERRORS_SHOWN:
            found.append(_error(event.when, event.level, event.who, event.what))
    return found


def log_errors(path: Path) -> list[dict[str, Any]]:
    """The last errors in a log file, newest first: what is left to read when nobody runs."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    found: list[dict[str, Any]] = []
    for line in reversed(lines):
        stamp, level, rest = ([*line.split(None, 2), "", "", ""])[:3]
        if level in ("WARNING", "ERROR") and len(found) < ERRORS_SHOWN:
            try:
                when = datetime.fromisoformat(stamp).timestamp()
            except ValueError:
                continue
            who, _, what = rest.partition(": ")
            found.append(_error(when, level.lower(), who, what))
    return found


def _error(when: float, level: str, who: str, what: str) -> dict[str, Any]:
    return {"when": round(when, 3), "level": level, "who": who, "what": what}
