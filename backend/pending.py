"""Tasks that are to be built some time, as the job grabber keeps them (`pending-jobs/`)."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from backend.chroot import Chroot
from backend.exceptions import ProtocolError
from backend.taskfields import get, split_task_id, strings


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingTask:
    """One record of `pending-jobs/`: enough to decide what runs next, and where.

    Derived once, because the scheduler looks at them very often: `is_source` (it produces the
    source package), `arch` (what must build it, None means any), `limit_arch` (under which it
    counts: i?86 is x86_64, as in Copr), `priority` (smaller first: source, RPM, background
    source, background RPM), `lane` (tasks with the same one are alike for every limit) and
    `age` (smaller is older).
    """

    task_id: str
    build_id: int
    owner: str
    sandbox: str
    background: bool
    chroot: str | None
    tags: tuple[str, ...] = ()
    blocked_by: str = ""
    is_source: bool = field(init=False, repr=False, compare=False)
    arch: str | None = field(init=False, repr=False, compare=False)
    limit_arch: str | None = field(init=False, repr=False, compare=False)
    priority: int = field(init=False, repr=False, compare=False)
    lane: str = field(init=False, repr=False, compare=False)
    age: tuple[int, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        source = self.task_id == str(self.build_id)
        arch = self.chroot.rpartition("-")[2] if self.chroot else None
        lane = "\0".join((self.owner, str(arch), self.sandbox, self.blocked_by, *self.tags))
        derived = {
            "is_source": source,
            "arch": arch and sys.intern(arch),
            "limit_arch": "x86_64" if arch and arch.endswith("86") else arch,
            "priority": 2 * self.background + (not source),
            "owner": sys.intern(self.owner),  # few different ones, and compared all the time
            "lane": sys.intern(lane),
            "age": (self.build_id, self.task_id),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_record(cls, raw: Mapping[str, Any]) -> Self:
        """Check one record; raises ProtocolError naming the bad field.

        `blocked_by` is our own, optional: why the frontend does not want it started yet.
        """
        task_id = get(raw, "task_id", str)
        build_id, chroot = split_task_id(task_id)
        if get(raw, "build_id", int) != build_id:
            raise ProtocolError(f"task {task_id!r}: field 'build_id' contradicts the task id")
        named = get(raw, "chroot", str, None)
        if chroot is None and named is not None:
            chroot = Chroot.parse(named)
        return cls(
            task_id=task_id,
            build_id=build_id,
            owner=get(raw, "project_owner", str),
            sandbox=get(raw, "sandbox", str, ""),
            background=get(raw, "background", bool, False),
            chroot=str(chroot) if chroot else None,
            tags=strings(raw, "tags"),
            blocked_by=get(raw, "blocked_by", str, ""),
        )

    @property
    def kind(self) -> str:
        """Under which its duration is remembered: `source`, or the architecture."""
        return "source" if self.is_source else self.arch or "rpm"
