"""What befalls hosts, drawn from the seed; each deed is undone after a while."""

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from backend import constants
from backend.hosts.pool import Lease
from backend.queues import Queues
from tests.hostchaos.nethost import NetHost
from tests.integration.farm import Farm

KILL = signal.SIGKILL
#: Most hosts that are away at once: with all of them away nothing is built, and nothing tried.
DOWN = 2
Deed = Callable[[NetHost], None]


def leases(client: Any) -> list[Lease]:
    """Who has which host now."""
    return [Lease(**json.loads(text)) for text in client.hvals(constants.HOST_LEASES_KEY)]


class Killer:
    """Strikes from the calling thread. It spares a host while a build is there that two others
    have failed already: the third would rightly be its last."""

    def __init__(
        self,
        farm: Farm,
        hosts: list[NetHost],
        seed: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.farm, self.hosts, self._clock = farm, hosts, clock
        self.random = random.Random(f"{seed}-hosts")
        self.counts: Counter[str] = Counter()
        self.timeline: list[str] = []
        self._begin = clock()
        self._later: dict[str, tuple[float, str, Callable[[], None]]] = {}

    def note(self, text: str) -> None:
        now = time.strftime("%H:%M:%S")
        self.timeline.append(f"{now} +{self._clock() - self._begin:6.1f} {text}")

    def run(self, over: threading.Event, fury: float) -> None:
        """Strike until it is over, then bring everything back."""
        deeds: dict[Deed, int] = {
            self.drop: 5, self.kill_agent: 3, self.kill_listener: 2, self.stop_sshd: 3,
            self.freeze: 4, self.freeze_long: 2, self.cut: 4, self.cut_long: 2,
            self.power_off: 3, self.kill_guard: 1,
        }  # fmt: skip
        while not over.wait(self.random.uniform(0.3, 2.5) / fury):
            self._undo(self._clock())
            host = self.random.choice(self.hosts)
            (deed,) = self.random.choices(list(deeds), list(deeds.values()))
            away = deed not in (self.drop, self.kill_agent, self.kill_guard)
            if host.name not in self._later and not (away and len(self._later) >= DOWN):
                deed(host)
        self._undo(float("inf"))
        self.note("mercy: all hosts are back")

    def _undo(self, now: float) -> None:
        for name, (due, what, undo) in list(self._later.items()):
            if due <= now:
                del self._later[name]
                undo()
                self.note(f"{name}: {what}")

    def _did(self, host: NetHost, what: str) -> None:
        self.counts[what] += 1
        self.note(f"{host.name}: {what}")

    def _until(
        self, host: NetHost, low: float, high: float, what: str, undo: Callable[[], None]
    ) -> None:
        due = self._clock() + self.random.uniform(low, high)
        self._later[host.name] = (due, what, undo)

    def spared(self, host: NetHost) -> bool:
        with self.farm.redis as client:
            queues = Queues(client)
            tasks = [lease.task for lease in leases(client) if lease.host == host.where]
            return any(len(queues.host_faults(task)) > 1 for task in tasks)

    # --- deeds ----------------------------------------------------------------------------

    def drop(self, host: NetHost) -> None:
        if host.signal(host.sessions(), KILL):
            self._did(host, "sessions killed")

    def kill_agent(self, host: NetHost) -> None:
        agents = host.agents()
        if agents and host.signal([self.random.choice(agents)], KILL):
            self._did(host, "an agent killed")

    def kill_listener(self, host: NetHost) -> None:
        if host.signal(host.listeners(), KILL):
            self._did(host, "listener killed")
            self._until(host, 1, 6, "listens again", host.listen)

    def stop_sshd(self, host: NetHost) -> None:
        if host.signal([*host.listeners(), *host.sessions()], KILL):
            self._did(host, "sshd killed")
            self._until(host, 1, 8, "listens again", host.listen)

    def freeze(self, host: NetHost) -> None:
        host.freeze()
        self._did(host, "frozen")
        self._until(host, 0.3, 6, "thawed", host.thaw)

    def freeze_long(self, host: NetHost) -> None:
        if not self.spared(host):
            host.freeze()
            self._did(host, "frozen for long")
            self._until(host, 14, 40, "thawed", host.thaw)

    def cut(self, host: NetHost) -> None:
        host.cut()
        self._did(host, "cut off")
        self._until(host, 0.3, 6, "link up", host.mend)

    def cut_long(self, host: NetHost) -> None:
        if not self.spared(host):
            host.cut()
            self._did(host, "cut off for long")
            self._until(host, 14, 40, "link up", host.mend)

    def power_off(self, host: NetHost) -> None:
        if not self.spared(host):
            host.power_off()
            self._did(host, "powered off")
            self._until(host, 1, 10, "booted", host.boot)

    def kill_guard(self, host: NetHost) -> None:
        guards = host.guards()
        if guards and host.signal([self.random.choice(guards)], KILL):
            self._did(host, "a guard killed")
