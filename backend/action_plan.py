"""Which actions run next: a bounded number, by priority, and in order within a project."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: An action that hit this many faults of the farm is failed.
MAX_FAULTS = 8
LONGEST_PAUSE = 300.0


@dataclass
class Waiting:
    """An action that the frontend offers. `not_before` is set after a fault."""

    id: int
    priority: int
    projects: frozenset[str]
    faults: int = 0
    not_before: float = 0.0
    reason: str = field(default="", compare=False)


def pause(faults: int) -> float:
    """Seconds until the next try, after so many faults."""
    return float(min(LONGEST_PAUSE, 2.0 * 2 ** min(faults, 10)))


def plan(
    waiting: Iterable[Waiting], running: Mapping[int, Waiting], limit: int, now: float
) -> list[Waiting]:
    """The actions to start now, most urgent first; `waiting` may hold running ones.

    One that shares a project with an older unfinished action waits for it, even while that one
    waits for its next try: a delete must not overtake, or be overtaken by, a createrepo.
    """
    blocked: set[str] = set()
    for action in running.values():
        blocked |= action.projects
    ready = []
    for action in sorted(waiting, key=lambda action: action.id):
        if action.id in running:
            continue
        if not action.projects & blocked and action.not_before <= now:
            ready.append(action)
        blocked |= action.projects
    ready.sort(key=lambda action: (action.priority, action.id))
    return ready[: max(0, limit - len(running))]
