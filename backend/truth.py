"""Every task in one place: what contradicts that on the conveyor, and how it is put right.

The picture is read piece by piece while tasks move, so that one on the move may be seen twice.
Only what two pictures in a row agree on is a fault.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A task in one place too many. `group`: an entry to be taken out of that queue, the last
    one; None: a worker builds what has been reported already, and is to be stopped."""

    task: str
    group: int | None
    why: str


def faults(
    queued: Mapping[int, Sequence[str]], claims: Mapping[str, str], reported: Sequence[str]
) -> list[Fault]:
    """`queued`: group → tasks, next first; `claims`: worker → task; `reported`: in the outbox.

    A report outweighs a claim, a claim a queue, and an earlier entry of a queue a later one.
    """
    found = [
        Fault(task=task, group=None, why=f"worker {worker} builds what is reported already")
        for worker, task in claims.items()
        if task in reported
    ]
    held = set(claims.values())
    seen: set[str] = set()
    for group, tasks in queued.items():
        for task in tasks:
            if task in reported:
                found.append(Fault(task=task, group=group, why="queued, but reported already"))
            elif task in held:
                found.append(Fault(task=task, group=group, why="queued, but a worker has it"))
            elif task in seen:
                found.append(Fault(task=task, group=group, why="queued twice"))
            seen.add(task)
    return found
