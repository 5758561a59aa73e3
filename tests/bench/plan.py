"""Part d: one decision of the scheduler over a huge backlog."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from backend import scheduler
from backend.pending import PendingTask
from tests.bench.daemon import load

_ARCHS = ("x86_64", "aarch64", "ppc64le", "s390x")


def backlog(tasks: int) -> list[PendingTask]:
    """A mixed one: 500 owners with two projects each, four architectures, source tasks too."""
    found = []
    for number in range(tasks):
        source = number % 5 == 0
        chroot = None if source else f"fedora-41-{_ARCHS[number % 4]}"
        owner = f"owner{number % 500}"
        record = {
            "task_id": str(number + 1) if source else f"{number + 1}-{chroot}",
            "build_id": number + 1,
            "project_owner": owner,
            "sandbox": f"{owner}/project{number % 1000}--{owner}",
            "background": number % 3 == 0,
            "chroot": chroot,
        }
        found.append(PendingTask.from_record(record if source else {**record, "tags": []}))
    return found


def measure(tasks: int, slots: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Milliseconds of `scheduler.plan`; the records are read before."""
    say(f"{tasks} waiting tasks, {slots} slots")
    waiting = backlog(tasks)
    groups = {
        number: scheduler.Slots(archs=(arch,), free=slots // len(_ARCHS))
        for number, arch in enumerate(_ARCHS)
    }
    before, times = load(), []
    for _ in range(rounds):
        begin = time.perf_counter()
        plan = scheduler.plan(waiting, groups)
        times.append((time.perf_counter() - begin) * 1e3)
        assert len(plan.start) == min(tasks, slots // len(_ARCHS) * len(_ARCHS))
    return {
        "tasks": tasks,
        "slots": slots,
        "plan_ms": statistics.median(times),
        "plan_worst_ms": max(times),
        "load": [before, load()],
    }
