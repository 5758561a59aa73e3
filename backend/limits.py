"""How many tasks of a kind may run at once, with today's Copr spelling. Pure values."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backend.config import Config
from backend.pending import PendingTask


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The options `builds_max_workers…` and `blocked_owners`. 0 as a whole number: no limit."""

    total: int = 0
    owner: int = 0
    sandbox: int = 0
    arch: Mapping[str, int] = field(default_factory=dict)
    tag: Mapping[str, int] = field(default_factory=dict)
    arch_per_owner: Mapping[str, int] = field(default_factory=dict)
    blocked_owners: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: Config) -> "Limits":
        """As configured."""
        return cls(
            total=config.builds_max_workers,
            owner=config.builds_max_workers_owner,
            sandbox=config.builds_max_workers_sandbox,
            arch=config.builds_max_workers_arch,
            tag=config.builds_max_workers_tag,
            arch_per_owner=config.builds_max_workers_arch_per_owner,
            blocked_owners=frozenset(config.blocked_owners),
        )


class Counts:
    """How many tasks run, by everything that has a limit. A counter of 0 is forgotten."""

    def __init__(self, running: Iterable[PendingTask] = ()) -> None:
        self.total = 0
        self.by: Counter[tuple[str, ...]] = Counter()
        for task in running:
            self.add(task)

    def copy(self) -> "Counts":
        """An independent one."""
        other = Counts()
        other.total, other.by = self.total, self.by.copy()
        return other

    def add(self, task: PendingTask) -> None:
        """One more runs."""
        self.total += 1
        for key in _keys(task):
            self.by[key] += 1

    def remove(self, task: PendingTask) -> None:
        """One that was added has ended."""
        self.total -= 1
        for key in _keys(task):
            self.by[key] -= 1
            if not self.by[key]:
                del self.by[key]

    def reached(self, limits: Limits, task: PendingTask) -> str:
        """Name of the limit that one more such task would break; empty: none."""
        by = self.by
        if limits.total and self.total >= limits.total:
            return "builds_max_workers"
        if limits.owner and by[("owner", task.owner)] >= limits.owner:
            return "builds_max_workers_owner"
        if limits.sandbox and task.sandbox and by[("sandbox", task.sandbox)] >= limits.sandbox:
            return "builds_max_workers_sandbox"
        arch = task.limit_arch or ""
        if arch in limits.arch and by[("arch", arch)] >= limits.arch[arch]:
            return "builds_max_workers_arch"
        per_owner = limits.arch_per_owner.get(arch)
        if per_owner is not None and by[("arch+owner", arch, task.owner)] >= per_owner:
            return "builds_max_workers_arch_per_owner"
        if limits.tag and self._full_tag(limits, task):
            return "builds_max_workers_tag"
        return ""

    def _full_tag(self, limits: Limits, task: PendingTask) -> str:
        for tag in task.tags:
            if tag in limits.tag and self.by[("tag", tag)] >= limits.tag[tag]:
                return tag
        return ""

    def explain(self, limits: Limits, task: PendingTask, name: str) -> str:
        """The sentence about the limit `name`, which the task has `reached`."""
        arch, owner = task.limit_arch or "", task.owner
        tag = self._full_tag(limits, task)
        who, key, limit = {
            "builds_max_workers": ("the farm", (), limits.total),
            "builds_max_workers_owner": (f"owner {owner}", ("owner", owner), limits.owner),
            "builds_max_workers_sandbox": (
                f"sandbox {task.sandbox}",
                ("sandbox", task.sandbox),
                limits.sandbox,
            ),
            "builds_max_workers_arch": (
                f"architecture {arch}",
                ("arch", arch),
                limits.arch.get(arch, 0),
            ),
            "builds_max_workers_arch_per_owner": (
                f"owner {owner} on {arch}",
                ("arch+owner", arch, owner),
                limits.arch_per_owner.get(arch, 0),
            ),
            "builds_max_workers_tag": (f"tag {tag}", ("tag", tag), limits.tag.get(tag, 0)),
        }[name]
        now = self.by[key] if key else self.total
        return f"{who} already runs {now} of {limit} ({name})"


def _keys(task: PendingTask) -> list[tuple[str, ...]]:
    keys: list[tuple[str, ...]] = [("owner", task.owner)]
    if task.sandbox:
        keys.append(("sandbox", task.sandbox))
    if task.limit_arch:
        keys += [("arch", task.limit_arch), ("arch+owner", task.limit_arch, task.owner)]
    keys += [("tag", tag) for tag in task.tags]
    return keys
