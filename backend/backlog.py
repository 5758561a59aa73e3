"""The tasks that wait, arranged so that a plan touches little more than what it starts."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from operator import attrgetter
from typing import Protocol

from backend.pending import PendingTask

#: Priorities are 0 (first) to 3; see PendingTask.
PRIORITIES = range(4)
_age = attrgetter("age")
_arch = attrgetter("arch")


class Arranged(Protocol):
    """Waiting tasks as a plan reads them."""

    def __iter__(self) -> Iterator[PendingTask]:
        """All of them, in no particular order."""

    def owners(self, priority: int) -> Iterator[tuple[str, Iterator[PendingTask]]]:
        """Every owner with such tasks, and these tasks, the oldest first."""

    def demand(self, priority: int) -> Collection[str | None]:
        """Architectures that such tasks wait for (perhaps more)."""


class Pile:
    """Tasks arranged once, for one plan."""

    def __init__(self, tasks: Collection[PendingTask]) -> None:
        self._tasks = tasks
        self._by: list[defaultdict[str, list[PendingTask]]] = [
            defaultdict(list) for _ in PRIORITIES
        ]
        for task in tasks:
            self._by[task.priority][task.owner].append(task)
        self._archs = set(map(_arch, tasks))

    def __iter__(self) -> Iterator[PendingTask]:
        return iter(self._tasks)

    def owners(self, priority: int) -> Iterator[tuple[str, Iterator[PendingTask]]]:
        """See Arranged."""
        for owner, tasks in self._by[priority].items():
            tasks.sort(key=_age)
            yield owner, iter(tasks)

    def demand(self, priority: int) -> Collection[str | None]:
        """See Arranged."""
        return self._archs if self._by[priority] else ()


class Backlog:
    """Waiting tasks by priority and owner. `add` and `remove` cost the same at any size."""

    def __init__(self, tasks: Iterable[PendingTask] = ()) -> None:
        self._tasks: dict[str, PendingTask] = {}
        #: By priority: owner → task id → task, the oldest first; and how many want which arch.
        self._by: list[dict[str, dict[str, PendingTask]]] = [{} for _ in PRIORITIES]
        self._demand: list[Counter[str | None]] = [Counter() for _ in PRIORITIES]
        #: Grows with each change.
        self.version = 0
        self.update(tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._tasks

    def __iter__(self) -> Iterator[PendingTask]:
        return iter(self._tasks.values())

    def get(self, task_id: str) -> PendingTask | None:
        """The task, if it waits."""
        return self._tasks.get(task_id)

    def owners(self, priority: int) -> Iterator[tuple[str, Iterator[PendingTask]]]:
        """See Arranged."""
        for owner, tasks in self._by[priority].items():
            yield owner, iter(tasks.values())

    def demand(self, priority: int) -> Collection[str | None]:
        """See Arranged."""
        return self._demand[priority].keys()

    def update(self, tasks: Iterable[PendingTask]) -> None:
        """Add tasks; one that is there already is replaced."""
        new = {task.task_id: task for task in tasks}
        for name in new.keys() & self._tasks.keys() if self._tasks else ():
            self.remove(name)
        self._tasks.update(new)
        self.version += bool(new)
        grouped: list[defaultdict[str, list[PendingTask]]] = [defaultdict(list) for _ in PRIORITIES]
        for task in new.values():
            grouped[task.priority][task.owner].append(task)
        for owners, demand, group in zip(self._by, self._demand, grouped, strict=True):
            for owner, added in group.items():
                demand.update(map(_arch, added))
                added.sort(key=_age)
                own = owners.setdefault(owner, {})
                in_order = not own or own[next(reversed(own))].age < added[0].age
                own.update({task.task_id: task for task in added})
                if not in_order:
                    ordered = sorted(own.values(), key=_age)
                    owners[owner] = {task.task_id: task for task in ordered}

    def add(self, task: PendingTask) -> None:
        """Add one task."""
        self.update((task,))

    def remove(self, task_id: str) -> PendingTask | None:
        """Take a task out; None if it did not wait."""
        task = self._tasks.pop(task_id, None)
        if task is None:
            return None
        self.version += 1
        own = self._by[task.priority][task.owner]
        del own[task_id]
        if not own:
            del self._by[task.priority][task.owner]
        demand = self._demand[task.priority]
        demand[task.arch] -= 1
        if not demand[task.arch]:
            del demand[task.arch]
        return task
