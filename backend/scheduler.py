"""What runs next, and why the rest waits: a pure function of values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.job import PendingTask


@dataclass(frozen=True, kw_only=True)
class Slots:
    """A builder group as the scheduler sees it: what it builds, and how much more at once."""

    archs: tuple[str, ...]
    free: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`start`: (task, group id) to enqueue now, in order; `waiting`: task id → reason."""

    start: tuple[tuple[PendingTask, int], ...]
    waiting: Mapping[str, str]


def rank(task: PendingTask) -> tuple[int, int, str]:
    """Smaller first: source, RPM, background source, background RPM; then the older build."""
    return (2 * task.background + (not task.is_source), task.build_id, task.task_id)


def plan(backlog: Sequence[PendingTask], groups: Mapping[int, Slots]) -> Plan:
    """Fill the free slots. A task without architecture goes to the group with most room."""
    free = {group: slots.free for group, slots in groups.items()}
    start: list[tuple[PendingTask, int]] = []
    waiting: dict[str, str] = {}
    for task in sorted(backlog, key=rank):
        fitting = [
            g for g, slots in groups.items() if task.arch is None or task.arch in slots.archs
        ]
        if not fitting:
            waiting[task.task_id] = (
                f"no builder group builds {task.arch}: add it to a group's archs"
            )
            continue
        group = max(fitting, key=lambda g: free[g])
        if free[group] > 0:
            free[group] -= 1
            start.append((task, group))
        else:
            waiting[task.task_id] = "all workers of its group are busy"
    return Plan(start=tuple(start), waiting=waiting)
