"""A task that ends otherwise than by its worker's success is not in the repository.

Where an attempt may have published it was told when it started, so the frontend is not needed
for that. Only of tasks that Redis does not remember the record is asked for, and nobody waits.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

from backend import rpmtask
from backend.config import Config
from backend.daemons.desk import Desk
from backend.daemons.kept import Kept
from backend.exceptions import (
    FrontendBroken,
    FrontendError,
    FrontendRefused,
    FrontendSilent,
    InfrastructureError,
    ProtocolError,
)
from backend.frontend import Frontend
from backend.job import RpmTask
from backend.records import Told
from backend.repository import Manners

#: Longest time that a repository may take to be published again, in seconds.
PUBLISH = 300.0
#: Whoever publishes there is waited for so long, in seconds; then others are looked after first.
PATIENCE = 5.0
#: A record that cannot be had for so long, in seconds, is given up.
GIVE_UP = 86400.0
#: Records that are asked for one after the other, at most.
BATCH = 50
_MANNERS = Manners(who="the job grabber", patience=PATIENCE, timeout=PUBLISH)


class Withdraw:
    """Two lanes: repositories, and records that are asked for."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._frontend = desk.frontend()
        self._repositories, self._records = desk.lane("withdraw"), desk.lane("records")
        self._kept, self._broken = Kept(desk, "withdrawal"), Kept(desk, "withdrawal")
        self._told: dict[str, Told] = {}
        self._clear: set[str] = set()
        #: None: Redis has not been asked yet what a predecessor left.
        self._owed: dict[str, None] | None = None
        self._not_before = 0.0
        #: Called with each task that has become clear.
        self.then: list[Callable[[str], None]] = []

    def clear(self, task_id: str) -> bool:
        """True when nothing of the task is published, as far as is known; else `then` is called
        when it is so. To be repeated until it is True, and `settled` afterwards."""
        if task_id.isdigit() or task_id in self._clear:
            return True
        if task_id in self._told:
            return False
        told = self._desk.queues.told(task_id)
        if told is None:
            if self._owed is not None:
                self._owed[task_id] = None
            self._desk.queues.owe(task_id)
            return True
        self._told[task_id] = told
        return False

    def settled(self, task_id: str) -> None:
        """The task is at its end."""
        self._clear.discard(task_id)

    @property
    def due(self) -> float:
        """The tick at which there is something to do."""
        if self._owed is None:
            return 0.0
        told = _due(self._repositories.busy, self._told, self._kept)
        owed = _due(self._records.busy, self._owed, self._broken)
        return min(told, max(owed, self._not_before))

    def step(self, tick: float) -> None:
        """Do what is due."""
        if tick < self.due:
            return
        if self._owed is None:
            self._owed = dict.fromkeys(self._desk.queues.owed())
        if not self._repositories.busy:
            self._retract_next(tick)
        if not self._records.busy and tick >= self._not_before:
            self._ask_next(self._owed, tick)

    def _retract_next(self, tick: float) -> None:
        """One at a time: it may take long."""
        task = next((task for task in self._told if self._kept.may(task, tick)), "")
        if task:
            request = partial(_retract, self._desk.config, self._told[task])
            done, failed = partial(self._retracted, task), partial(self._delayed, task)
            self._repositories.ask(request, done, failed)

    def _ask_next(self, owed: Iterable[str], tick: float) -> None:
        tasks = list(islice((task for task in owed if self._broken.may(task, tick)), BATCH))
        if tasks:
            request = partial(_look, self._desk.config, self._frontend, tasks)
            self._records.ask(request, self._seen, self._away)

    def _retracted(self, task_id: str, _: None) -> None:
        self._told.pop(task_id, None)
        self._kept.over(task_id)
        self._clear.add(task_id)
        for heard in self.then:
            heard(task_id)

    def _delayed(self, task_id: str, error: Exception) -> None:
        self._kept.failed(task_id, str(error), self._desk.tick())

    def _away(self, _: Exception) -> None:
        """The list of tasks comes from the same place, and says so."""
        self._not_before = self._desk.tick() + self._desk.config.sleeptime

    def _seen(self, answers: Mapping[str, Exception | None]) -> None:
        tick = self._desk.tick()
        for task_id, error in answers.items():
            late = self._broken.age(task_id, tick) >= GIVE_UP
            if error and not (late and isinstance(error, FrontendError)):
                self._broken.failed(task_id, str(error), tick)
                continue
            if error:
                text = f"build {task_id}: withdrawal given up, none of it is known: {error}"
                self._desk.events.emit(text, "error")
            self._broken.over(task_id)
            self._desk.queues.paid(task_id)
            if self._owed:
                self._owed.pop(task_id, None)


def _due(busy: bool, tasks: Collection[str], kept: Kept) -> float:
    if busy or not tasks:
        return float("inf")
    return kept.due if all(task in kept for task in tasks) else 0.0


def _retract(config: Config, told: Told) -> None:
    """Runs in the lane."""
    try:
        rpmtask.retract_told(config, told, _MANNERS)
    except InfrastructureError as error:
        raise FrontendError(str(error)) from error


def _look(
    config: Config, frontend: Frontend, task_ids: Sequence[str]
) -> dict[str, Exception | None]:
    """Task → None if nothing of it is published, or why it must be tried again. Runs in the lane;
    raises FrontendError when the frontend is away."""
    answers: dict[str, Exception | None] = {}
    for task_id in task_ids:
        try:
            _withdraw(config, frontend, task_id)
            answers[task_id] = None
        except (FrontendBroken, InfrastructureError) as error:
            answers[task_id] = error
        except FrontendSilent as error:
            frontend.cancel_requests()  # over this one alone, or is it away?
            answers[task_id] = error
            break
    return answers


def _withdraw(config: Config, frontend: Frontend, task_id: str) -> None:
    try:
        record = frontend.task(task_id)
        if record is not None:
            rpmtask.retract(config, RpmTask.from_record(record), _MANNERS)
    except (FrontendRefused, ProtocolError):
        pass  # the frontend does not know it any more: nor do its readers
    except FrontendBroken:
        if not _packageless(frontend, task_id):
            raise


def _packageless(frontend: Frontend, task_id: str) -> bool:
    """True when the build has no package yet: then a frontend breaks over the records of its
    chroots, and none of them can have started."""
    try:
        record = frontend.task(task_id.partition("-")[0])
    except FrontendRefused:
        return True
    return record is None or not record.get("package_name")
