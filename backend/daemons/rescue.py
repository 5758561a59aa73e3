"""Compares what the grabber believes with what Redis holds; brings back what dead workers held."""

import os

from backend import pool, truth
from backend.daemons.desk import Desk
from backend.daemons.worker import failed_report
from backend.survey import Hand, Survey, survey

#: Longest time between two looks, in seconds.
LOOK_EVERY = 5.0


class Rescue:
    """Looks at everything now and then, and at once when a worker has died."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._due = 0.0
        self._number = 0
        self._missing: dict[str, tuple[set[str], float]] = {}
        self._faults: frozenset[truth.Fault] = frozenset()

    @property
    def due(self) -> float:
        """The tick of the next look."""
        return self._due

    def soon(self) -> None:
        """A worker died, or the drain changed."""
        self._due = 0.0

    def step(self, tick: float) -> None:
        """Look if it is time."""
        if tick < self._due:
            return
        config = self._desk.config
        self._due = tick + min(LOOK_EVERY, config.sleeptime)
        if not self._number:
            self._desk.queues.enlist()
        self._number += 1
        mark = f"{os.getpid()}-{self._number}"
        found = survey(self._desk.queues, [group.id for group in config.groups], mark)
        self._repair(found)
        self._believe(found, mark)
        for worker, hand in found.workers.items():
            if hand.process is None or not hand.process.alive:
                self._rescue(worker, hand)
        self._desk.drained = found.drained

    def _believe(self, found: Survey, mark: str) -> None:
        conveyor, now, tick = self._desk.conveyor, self._desk.now(), self._desk.tick()
        conveyor.outbox_is(found.reported, now, tick)
        present: set[str] = set()
        for group, tasks in found.queued.items():
            present.update(tasks)
            for task_id in tasks:
                conveyor.found(task_id, group, now, tick)
        for hand in found.workers.values():
            if hand.task_id and hand.group >= 0:  # else the frontend's list brings it back
                present.add(hand.task_id)
                conveyor.found(hand.task_id, hand.group, hand.since or now, tick)
        self._missing = {mark: (conveyor.flying.keys() - present, tick)}

    def _repair(self, found: Survey) -> None:
        """Put right what two looks in a row agree on."""
        held = {worker: hand.task_id for worker, hand in found.workers.items() if hand.task_id}
        faults = frozenset(truth.faults(found.queued, held, found.reported))
        for fault in faults & self._faults:
            if fault.group is None:
                self._desk.queues.supersede(fault.task)
            else:
                self._desk.queues.remove(fault.group, fault.task)
            text = f"build {fault.task}: {fault.why}: put right"
            self._desk.events.emit(text, "error", kind="task.doubled")
        self._faults = faults

    def marked(self, mark: str) -> bool:
        """All messages from before that look have arrived: what is still missing is lost.

        True when something was.
        """
        missing, tick = self._missing.pop(mark, (set(), 0.0))
        lost = self._desk.conveyor.lost(missing, tick)
        for task_id in lost:
            text = f"build {task_id}: was in no queue and with no worker: asking for it again"
            self._desk.events.emit(text, "warning", kind="task.again")
        return bool(lost)

    def _rescue(self, worker: str, hand: Hand) -> None:
        desk, task_id = self._desk, hand.task_id
        queues, now, tick = desk.queues, desk.now(), desk.tick()
        if not task_id or hand.group < 0:
            queues.bury(worker)
        elif queues.cancel_requested(task_id):  # `Cancels` settles it
            queues.bury(worker)
            desk.conveyor.dropped(task_id, now, tick)
        elif deaths := self._too_many_deaths(task_id):
            text = f"its worker died {deaths} times: given up (max_attempts)"
            queues.post(failed_report(task_id, text, queues.place(task_id)), worker)
            queues.bury(worker)
            desk.conveyor.ended(task_id, now, tick, reported=True)
            desk.events.emit(f"build {task_id}: failed: {text}", "error", kind="task.failed")
        else:
            queues.give_back(worker, hand.group)
            queues.bury(worker)
            text = f"build {task_id}: worker {worker} died, starting again"
            desk.events.emit(text, "warning", kind="task.again")

    def _too_many_deaths(self, task_id: str) -> int:
        """How many workers the task has killed, if it may not have another one; else 0."""
        queues = self._desk.queues
        deaths = queues.count_death(task_id)
        others = queues.note_death(task_id, self._desk.now())
        allowed = pool.attempts_allowed(self._desk.config.max_attempts, others)
        return deaths if deaths >= allowed else 0
