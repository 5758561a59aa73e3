"""Parts b and c: time to start, memory of idle workers, CPU of a daemon that has nothing to do."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import proc, speed
from tests.bench.daemon import Daemon, await_cpu_quiet, load, pause


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of workers to start; with those in `idle`, the CPU is watched for `seconds`."""

    workers: tuple[int, ...]
    idle: tuple[int, ...]
    seconds: float


def measure(on: speed.Ground, size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """One daemon after the other starts; those to be watched then idle side by side."""
    rows = []
    for workers in sorted({*size.workers} - {*size.idle}):
        say(f"{workers} workers")
        with _started(on.top, workers) as (_, row):
            rows.append(row)
    with contextlib.ExitStack() as stack:
        watched = []
        for workers in sorted(size.idle):
            say(f"{workers} workers")
            watched.append(stack.enter_context(_started(on.top, workers)))
        if watched:
            say(f"{' and '.join(map(str, sorted(size.idle)))} workers, {size.seconds:g} s idle")
            rows += _watch(watched, size.seconds)
    celery = celery_child(on, min(10, *size.workers)) if size.workers else None
    return {"rows": sorted(rows, key=lambda row: row["workers"]), "celery": celery}


@contextlib.contextmanager
def _started(top: Path, workers: int) -> Iterator[tuple[Daemon, dict[str, Any]]]:
    """A daemon whose workers all wait, with how long it took and what it weighs."""
    daemon = Daemon(top / f"size-{workers}", workers=workers)
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
        yield daemon, row | _memory(daemon) | {"load": [before, load()]}


def _watch(
    daemons: list[tuple[Daemon, dict[str, Any]]], seconds: float
) -> Iterator[dict[str, Any]]:
    """Their rows, with the CPU of all their processes, in percent of one core, by role."""
    begin = time.monotonic()
    roles = [{p: _role(proc.title(p)) for p in proc.family(d.pid)} for d, _ in daemons]
    before = [proc.cpu(pids) for pids in roles]
    pause(seconds)
    length = time.monotonic() - begin
    for (_, row), role, start in zip(daemons, roles, before, strict=True):
        shares = dict.fromkeys(role.values(), 0.0)
        for pid, used in proc.cpu(role).items():
            shares[role[pid]] += (used - start.get(pid, 0.0)) / length * 100
        yield row | {
            "idle_cpu_percent": sum(shares.values()),
            "idle_cpu_by_role": shares,
            "load": [row["load"][0], load()],
        }


def _memory(daemon: Daemon) -> dict[str, Any]:
    found = [m for pid in daemon.idle_workers() if (m := proc.memory(pid))]
    everything = [m for pid in proc.family(daemon.pid) if (m := proc.memory(pid))]
    return {
        "private_mib": statistics.median(m.private for m in found) / proc.MIB,
        "private_max_mib": max(m.private for m in found) / proc.MIB,
        "pss_mib": statistics.median(m.pss for m in found) / proc.MIB,
        "daemon_pss_mib": sum(m.pss for m in everything) / proc.MIB,
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
