"""`copr_be.py status`: what is happening, what waits and why, what broke."""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

from backend.commands.facts import Facts, gather
from backend.commands.host import host_table, trouble_lines
from backend.commands.text import count, duration, plain, table
from backend.config import Config
from backend.constants import Exit


def run(config: Config, pidfile: Path | None, *, as_json: bool) -> int:
    """Print it. 0: running and well; 1: running, with trouble; 3: not running; 4: unknown."""
    facts = gather(config, pidfile, time.time())
    if as_json:
        print(json.dumps(dataclasses.asdict(facts), indent=2))
    else:
        print("\n".join(render(facts, time.time())))
    return exit_code(facts)


def exit_code(facts: Facts) -> Exit:
    """The answer in one number, as the LSB has it for `status`."""
    if facts.state == "stopped":
        return Exit.NOT_RUNNING
    if "Permission denied" in facts.redis["trouble"]:
        return Exit.UNKNOWN
    suspended = facts.state == "suspended"
    bad = facts.redis["trouble"] or facts.frontend["trouble"] or facts.full or suspended
    return Exit.FAILED if bad else Exit.OK


def render(facts: Facts, now: float) -> list[str]:
    """The lines for a terminal."""
    return [*_head(facts, now), *_groups(facts), *_builds(facts), *_hosts(facts, now),
            *_waits(facts, now), *_kept(facts, now), *_publishing(facts, now),
            *_errors(facts, now)]  # fmt: skip


def _head(facts: Facts, now: float) -> Iterator[str]:
    if facts.master:
        pid, since = facts.master["pid"], duration(now - facts.master["since"])
        yield f"copr-backend: {facts.state}, pid {pid}, for {since}"
        if facts.state == "suspended":
            yield f"somebody has stopped it with SIGSTOP or a debugger: kill -CONT {pid}"
    else:
        killed = f"; pid {plain(facts.killed)} was killed or crashed" if facts.killed else ""
        yield f"copr-backend: not running{killed}"
    yield f"configuration {facts.config}, version {facts.version}"
    if facts.drained is not None:
        yield f"drained: nothing new starts until `copr_be.py resume` ({plain(facts.drained)})"
    if facts.full:
        yield f"disk nearly full, nothing new starts: {plain(facts.full)}"
    yield f"redis     {facts.redis['where']}: {facts.redis['trouble'] or 'answers'}"
    if facts.master:
        yield f"frontend  {facts.frontend['url']}: {_frontend(facts, now)}"


def _frontend(facts: Facts, now: float) -> str:
    if facts.frontend["trouble"]:
        return plain(facts.frontend["trouble"])
    fetched = facts.frontend.get("fetched")
    return f"answered {duration(now - fetched)} ago" if fetched else "not asked yet"


def _groups(facts: Facts) -> Iterator[str]:
    yield ""
    rows = [("group", "architectures", "workers", "busy", "queued")]
    for group in facts.groups:
        workers = f"{group.get('workers', '-')} of {group['max_workers']}"
        busy, queued = str(group.get("busy", "-")), str(group.get("queued", "-"))
        rows.append(
            (f"{group['id']} {group['name']}", ", ".join(group["archs"]), workers, busy, queued)
        )
    yield from table(rows)


def _builds(facts: Facts) -> Iterator[str]:
    busy = [worker for worker in facts.workers if worker["task"] or not worker["alive"]]
    if not busy:
        return
    yield ""
    rows = [("building", "for", "worker", "pid")]
    for worker in sorted(busy, key=lambda worker: worker["since"] or 0):
        seconds = worker["seconds"]
        rows.append(
            (
                plain(worker["task"]) or "-",
                "-" if seconds is None else duration(seconds),
                worker["name"].rpartition("-")[0],
                f"{worker['pid']}" if worker["alive"] else f"{worker['pid']} is dead",
            )
        )
    yield from table(rows)


def _hosts(facts: Facts, now: float) -> Iterator[str]:
    if not facts.hosts and not facts.host_troubles:
        return
    yield ""
    if facts.hosts:
        yield from host_table(facts.hosts, now)
    yield from trouble_lines(facts.host_troubles, now)
    for worker in facts.workers:
        if worker.get("waits"):
            yield f"  {plain(worker['task'])} waits: {plain(worker['waits'])}"


def _waits(facts: Facts, now: float) -> Iterator[str]:
    if facts.backlog is not None:
        yield ""
        yield f"waiting: {count(facts.backlog, 'task')}, {facts.startable} only for a free worker"
    for reason, number in list(facts.reasons.items())[:10]:
        yield f"  {number:>6}  {plain(reason)}"
    if facts.waiting:
        rows = [("  next", "position", "starts in", "why it waits")]
        for record in facts.waiting[:5]:
            eta = record.get("eta")
            rows.append(
                (
                    "  " + plain(record["task"]),
                    str(record.get("position") or "-"),
                    "about " + duration(eta - now) if eta else "-",
                    plain(str(record.get("reason", ""))),
                )
            )
        yield from table(rows)
    if facts.outbox:
        yield f"outbox: {count(facts.outbox, 'report')} that the frontend has not taken yet"


def _kept(facts: Facts, now: float) -> Iterator[str]:
    """At most ten."""
    if not facts.kept:
        return
    yield ""
    yield f"kept and tried again, nothing else waits for them: {len(facts.kept)}"
    for one in facts.kept[:10]:
        often = f"{duration(now - one['since'])}, {count(one['tries'], 'time')}"
        yield f"  {one['what']} of {plain(one['task'])}, for {often}: {plain(one['why'])[:300]}"


def _publishing(facts: Facts, now: float) -> Iterator[str]:
    """At most ten of each."""
    publishers = facts.publishing.get("publishers", [])
    failures = facts.publishing.get("failures", [])
    if publishers:
        yield ""
        rows = [("publishing", "for", "by")]
        for one in publishers[:10]:
            seconds = duration(now - one["since"])
            does = seconds if one["publishes"] else f"waits {seconds}"
            rows.append((plain(one["repository"]), does, plain(one["who"])))
        yield from table(rows)
        if len(publishers) > len(rows) - 1:
            yield f"  and {len(publishers) - len(rows) + 1} more"
    if failures:
        yield ""
        yield f"repositories that cannot be published: {len(failures)}"
    for failure in failures[-10:]:
        ago = duration(now - failure["when"])
        yield f"  {ago:>8} ago  {plain(failure['repository'])}: {plain(failure['why'])[:300]}"


def _errors(facts: Facts, now: float) -> Iterator[str]:
    if facts.errors:
        yield ""
        yield "last errors and warnings"
    for error in facts.errors:
        ago = duration(now - error["when"])
        yield f"  {ago:>8} ago  {error['who']}: {plain(error['what'])[:300]}"
