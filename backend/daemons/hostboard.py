"""What the keeper of the pools tells: workers and readers through Redis, people through events."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict

from backend.hosts import plan
from backend.hosts.exchange import Exchange
from backend.hosts.pool import Machine, Scene, State


class Noticeboard:
    """Writes only what has changed since it was written last."""

    def __init__(self, exchange: Exchange, say: Callable[..., None]) -> None:
        self._exchange, self._say = exchange, say
        self.told: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._troubles: dict[int, str] | None = None

    def recall(self) -> None:
        """What an earlier keeper has told of machines, into `told`."""
        self.told = self._exchange.known()

    def publish(self, machines: Mapping[str, Machine]) -> None:
        """All machines, as they are."""
        texts = {name: json.dumps(machine.to_dict()) for name, machine in machines.items()}
        new = {name: text for name, text in texts.items() if self.told.get(name) != text}
        gone = self.told.keys() - texts.keys()
        if new or gone:
            self._exchange.publish(new, gone)
        self.told = texts

    def explain(self, scene: Scene) -> None:
        """Why machines cannot be started, and why each worker waits."""
        troubles = {g: json.dumps(asdict(t)) for g, t in scene.spawning.items() if t.count}
        if troubles != self._troubles:
            self._exchange.troubles(troubles)
            self._troubles = troubles
        texts = {request.worker: plan.why(scene, request) for request in scene.waiting}
        new = {worker: text for worker, text in texts.items() if self._texts.get(worker) != text}
        gone = self._texts.keys() - texts.keys()
        if new or gone:
            self._exchange.explain(new, gone)
        self._texts = texts

    def served(self, worker: str) -> None:
        """This one has its host: what it was told is gone with its request."""
        self._texts.pop(worker, None)

    def announce(self, before: Machine, machine: Machine) -> None:
        """Whether it changed so that people should know."""
        why = f": {machine.reason}" if machine.reason else ""
        if machine.state is State.QUARANTINED:
            text = f"host {machine.name} is in quarantine{why}"
            self._say(text, "error", kind="host.quarantined")
        elif before.state is State.QUARANTINED and machine.state is State.READY:
            self._say(f"host {machine.name} is back from quarantine", kind="host.back")
        elif machine.state is State.CHECKING and machine.reason and before.proven:
            self._say(f"host {machine.name} is not used until a check passes{why}", "warning")
        elif machine.state is State.ENDING:
            self._say(f"host {machine.name} is ended{why}", kind="host.ending")
