"""Parts b and c: time to start, memory of idle workers, CPU of a daemon that has nothing to do."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import proc, speed
from tests.bench.daemon import Daemon, await_cpu_quiet, load, pause


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of workers to start; of those in `idle`, the CPU is watched for `seconds`."""

    workers: tuple[int, ...]
    idle: tuple[int, ...]
    seconds: float


def measure(on: speed.Ground, size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """One daemon after the other, with the real builder and its private Redis."""
    rows = []
    for workers in sorted({*size.workers, *size.idle}):
        seconds = size.seconds if workers in size.idle else 0
        say(f"{workers} workers" + (f", {seconds:g} s idle" if seconds else ""))
        rows.append(_one(on.top / f"size-{workers}", workers, seconds))
    celery = celery_child(on, min(10, *size.workers)) if size.workers else None
    return {"rows": rows, "celery": celery}


def _one(top: Path, workers: int, seconds: float) -> dict[str, Any]:
    daemon = Daemon(top, workers=workers)
    begin, before = time.monotonic(), load()
    with daemon:
        while len(daemon.idle_workers()) < workers:
            if time.monotonic() - begin > 120:
                raise TimeoutError(f"not {workers} workers within 120 s")
            pause(0.02)
        row: dict[str, Any] = {
            "workers": workers,
            "ready_s": daemon.ready_after,
            "all_waiting_s": time.monotonic() - begin,
        }
        await_cpu_quiet(daemon.pid)
        row |= _memory(daemon)
        if seconds:
            row |= _idle(daemon.pid, seconds)
    return row | {"load": [before, load()]}


def _memory(daemon: Daemon) -> dict[str, Any]:
    found = [m for pid in daemon.idle_workers() if (m := proc.memory(pid))]
    everything = [m for pid in proc.family(daemon.pid) if (m := proc.memory(pid))]
    return {
        "private_mib": statistics.median(m.private for m in found) / proc.MIB,
        "private_max_mib": max(m.private for m in found) / proc.MIB,
        "pss_mib": statistics.median(m.pss for m in found) / proc.MIB,
        "daemon_pss_mib": sum(m.pss for m in everything) / proc.MIB,
    }


def _idle(pid: int, seconds: float) -> dict[str, Any]:
    """CPU of all its processes, redis-server included, in percent of one core."""
    titles = {p: _role(proc.title(p)) for p in proc.family(pid)}
    begin, before = time.monotonic(), proc.cpu(titles)
    pause(seconds)
    after, length = proc.cpu(titles), time.monotonic() - begin
    roles: dict[str, float] = {}
    for process, used in after.items():
        share = (used - before.get(process, 0.0)) / length * 100
        roles[titles[process]] = roles.get(titles[process], 0.0) + share
    return {
        "idle_cpu_percent": sum(roles.values()),
        "idle_cpu_by_role": roles,
        "watched_s": length,
    }


def _role(title: str) -> str:
    words = title.split()
    if words[:1] == ["copr-be:"]:
        return words[1]
    return Path(words[0]).name if words else "?"


def celery_child(on: speed.Ground, workers: int) -> dict[str, Any] | None:
    """The same of an idle child of Celery's default pool; None when it is not installed."""
    if speed.missing(["celery"]):
        return None
    with speed.rival("celery", on, workers) as (_, pid):
        return {"workers": workers, "private_mib": speed.worker_memory(pid) / proc.MIB}
