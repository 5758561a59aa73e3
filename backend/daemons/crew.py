"""The worker processes of all groups: who has which number and slot, who must go, who is due."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from backend import pool
from backend.daemons.family import Family, Process
from backend.daemons.helpers import death_of
from backend.exceptions import CoprBackendError
from backend.pool import Backoff, Death

#: A worker is reminded of its retirement this often, in seconds: it may have been too young to
#: hear it.
REMIND = 10.0


@dataclass
class Place:
    """Where a worker stands: its number in the group, its slot on this machine."""

    group: int
    number: int
    slot: int
    told: float = 0.0


class Crew:
    """`workers` maps each group's id to its processes, the retiring ones included."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self.workers: dict[int, list[Process]] = {}
        self._places: dict[int, Place] = {}
        self._backoffs: dict[int, Backoff] = {}

    def everyone(self) -> list[Process]:
        """All workers."""
        return [process for workers in self.workers.values() for process in workers]

    def due(self, group: int, limit: int) -> list[int]:
        """Numbers of the workers that should be started now."""
        if not self._backoffs.setdefault(group, Backoff()).may_start(time.monotonic()):
            return []
        workers = self.workers.setdefault(group, [])
        return pool.missing_slots({self._places[worker.pid].number for worker in workers}, limit)

    def start(self, group: int, number: int, work: Callable[[int], None]) -> None:
        """Start a worker; `work` is given a slot that no other living worker has."""
        slot = pool.lowest_free({place.slot for place in self._places.values()})
        process = self._family.start(f"worker {group}-{number}", lambda: work(slot))
        self._places[process.pid] = Place(group, number, slot)
        self.workers.setdefault(group, []).append(process)

    def retire(self, group: int, keep: int = 0) -> int:
        """Tell the workers of a group whose number is `keep` or more to finish and go.

        Returns how many have just learnt it.
        """
        fresh, now = 0, time.monotonic()
        for process in self.workers.get(group, []):
            place = self._places[process.pid]
            if place.number >= keep and not process.retiring:
                process.retiring = True
                fresh += 1
                place.told = now
                process.signal(signal.SIGUSR2)
        return fresh

    def remind(self, now: float) -> None:
        """Tell those again who have not gone yet."""
        for process in self.everyone():
            place = self._places[process.pid]
            if process.retiring and now - place.told > REMIND:
                place.told = now
                process.signal(signal.SIGUSR2)

    def bury(self, group: int) -> list[tuple[Process, Death]]:
        """Forget the dead of a group, and return them.

        Raises CoprBackendError when its workers cannot even start.
        """
        dead = [worker for worker in self.workers.get(group, []) if not worker.is_alive()]
        if not dead:
            return []
        self.workers[group] = [worker for worker in self.workers[group] if worker not in dead]
        buried = []
        for process in dead:
            self._places.pop(process.pid, None)
            buried.append((process, death_of(self._family, process)))
        backoff = self._backoffs.setdefault(group, Backoff())
        backoff.note([death for process, death in buried if not process.retiring], time.monotonic())
        if backoff.hopeless:
            reason = backoff.words or buried[0][0].how
            raise CoprBackendError(f"workers of group {group} cannot start, given up: {reason}")
        return buried
