"""What tests of the scheduler plan."""

from typing import Any

from backend.pending import PendingTask
from backend.scheduler import Plan, Slots
from tests.unit.test_core_values import pending

ARCHS = ("x86_64", "aarch64", "s390x")


def rpm(number: int, owner: str = "jdoe", arch: str = "x86_64", **extra: Any) -> PendingTask:
    return pending(f"{number}-fedora-41-{arch}", project_owner=owner, **extra)


def names(made: Plan) -> list[str]:
    return [task.task_id for task, _ in made.start]


def one_group(free: int, size: int = 4) -> dict[int, Slots]:
    return {0: Slots(archs=("x86_64",), free=free, size=size, name="PC")}
