"""`copr_be.py why TASK`: where a task (or a build's tasks) is, and why it waits."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import redis
import urllib3

from backend import constants, hostview
from backend.commands import facts
from backend.commands.text import count, duration, plain
from backend.config import Config
from backend.constants import Exit
from backend.exceptions import CoprBackendError, FrontendError, FrontendRefused
from backend.frontend import Frontend
from backend.processid import ProcessId
from backend.queues import Queues
from backend.records import troubles
from backend.redis_server import connect


def run(config: Config, wanted: str) -> int:
    """Print one line for each task; 0 if it is unfinished or finished, 1 if nobody knows it."""
    client = connect(config, timeout=5.0)
    try:
        lines = dict(conveyor(client, config, wanted, time.time()))
        reasons = facts.waiting(client)
        unlisted = beyond(client)
    except (redis.RedisError, OSError) as error:
        raise CoprBackendError(
            f"cannot ask Redis ({facts.where(config)}): {facts.trouble(error)}"
        ) from error
    finally:
        client.close()
    for task, record in reasons.items():
        if matches(task, wanted) and task not in lines:
            lines[task] = waits(record, time.time())
    if not lines:
        lines, known = elsewhere(config, wanted, unlisted)
        if not known:
            raise CoprBackendError("; ".join(lines.values()))
    for task, line in sorted(lines.items()):
        print(f"{plain(task)}: {plain(line)}")
    return Exit.OK


def matches(task: str, wanted: str) -> bool:
    """True for the task itself, and for every task of a build given by its number."""
    return task == wanted or (wanted.isdigit() and task.partition("-")[0] == wanted)


def conveyor(
    client: "redis.Redis", config: Config, wanted: str, now: float
) -> Iterator[tuple[str, str]]:
    """Task → where on the conveyor it is. Later places come last: tasks move that way."""
    queues = Queues(client)
    for group in config.groups:
        for number, task in enumerate(queues.queued(group.id), 1):
            if matches(task, wanted):
                yield task, f"number {number} in the queue of group {group.id} ({group.name})"
    no_host = hostview.waits(client)
    for name in queues.workers():
        raw: Any = client.hgetall(constants.WORKER_KEY.format(worker=name))
        if raw.get("task") and matches(raw["task"], wanted):
            text = building(name, raw, now)
            if name in no_host:
                text = f"waits on worker {name.rpartition('-')[0]}: {no_host[name]}"
            yield raw["task"], text
    for report in queues.outbox():
        if matches(report.task_id, wanted):
            raw = client.hgetall(constants.GRABBER_KEY)
            trouble = raw.get("trouble") or "the next delivery is under way"
            yield report.task_id, f"finished; the frontend has not taken the report yet: {trouble}"
    yield from kept(client, wanted, now)


def kept(client: "redis.Redis", wanted: str, now: float) -> Iterator[tuple[str, str]]:
    """What fails for it alone, and is tried again."""
    for one in troubles(client):
        if matches(one.task, wanted):
            tried = f"tried {count(one.tries, 'time')} for {duration(now - one.since)}"
            yield one.task, f"its {one.what} is kept, {tried}, the last trouble: {one.why}"


def building(name: str, raw: Mapping[str, str], now: float) -> str:
    """A worker has it."""
    worker, pid = name.rpartition("-")[0], int(raw["pid"])
    since = float(raw.get("since") or 0)
    time_text = f" for {duration(now - since)}" if since else ""
    if not ProcessId(pid, int(raw["start"])).alive:
        return f"its worker {worker} (pid {pid}) is dead: it goes back to the queue at once"
    return f"building{time_text}, worker {worker}, pid {pid}"


def waits(record: Mapping[str, Any], now: float) -> str:
    """Why the scheduler lets it wait."""
    text = f"waits: {record.get('reason') or 'for a free worker'}"
    if record.get("position"):
        text += f"; position {record['position']}"
    if record.get("eta"):
        text += f"; starts in about {duration(float(record['eta']) - now)}"
    return text


def beyond(client: "redis.Redis") -> str:
    """What to say of an unfinished task for which no reason is written down."""
    raw: Any = client.hgetall(constants.GRABBER_KEY)
    listed, backlog = int(raw.get("listed") or 0), int(raw.get("backlog") or 0)
    if backlog > listed:
        return f"waits: behind the first {listed} of {backlog} waiting tasks"
    return ""


def elsewhere(config: Config, wanted: str, unlisted: str) -> tuple[dict[str, str], bool]:
    """What the frontend knows of a task that is not on the conveyor, and whether it does."""
    frontend = Frontend(config.frontend_url, "", timeout=10)
    try:
        tasks, _ = frontend.pending()
    except (FrontendError, FrontendRefused) as error:
        text = f"{wanted} is not on the conveyor, and the frontend cannot be asked: {error}"
        return {wanted: text}, False
    finally:
        frontend.close()
    found = {
        task.task_id: unlisted
        or "unfinished; the job grabber has not seen it yet (it looks at least every"
        f" {config.sleeptime} s)"
        for task in tasks
        if matches(task.task_id, wanted)
    }
    if found:
        return found, True
    state = build_state(config, wanted.partition("-")[0])
    if state:
        return {wanted: f"the frontend has nothing to build for it: the build is {state}"}, True
    return {
        wanted: f"{wanted} is no task or build that the frontend knows: check the number"
    }, False


def build_state(config: Config, number: str) -> str:
    """The build's state by API v3; empty if there is no such build."""
    if not number.isdigit():
        return ""
    try:
        reply = urllib3.request(
            "GET", f"{config.frontend_url}/api_3/build/{number}", timeout=10, retries=False
        )
        state = json.loads(reply.data).get("state") if reply.status == 200 else ""
    except (urllib3.exceptions.HTTPError, ValueError, AttributeError):
        return ""
    return str(state or "")
