"""The helper processes (log, job grabber, actions, web): started, revived, replaced."""

import time
from collections.abc import Callable, Iterable

from backend.daemons.board import State
from backend.daemons.family import Family, Process
from backend.exceptions import CoprBackendError
from backend.pool import Backoff, Death

#: Seconds that the first start may take.
FIRST_START = 110.0


def death_of(family: Family, process: Process) -> Death:
    """Reap an ended child, and say how it went."""
    state, words = family.forget(process)
    return Death(
        age=time.monotonic() - process.born,
        code=process.exitcode or 0,
        ready=state is not State.STARTING,
        words=words,
    )


class Helpers:
    """At most one process of each name. `say` is `CoprBackend.event`."""

    def __init__(self, family: Family, say: Callable[..., None]) -> None:
        self._family = family
        self._say = say
        self.running: dict[str, Process] = {}
        self._backoffs: dict[str, Backoff] = {}

    def due(self, name: str) -> bool:
        """It does not run, and its pause is over."""
        backoff = self._backoffs.setdefault(name, Backoff())
        return name not in self.running and backoff.may_start(time.monotonic())

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Start it; it must be due."""
        self.running[name] = self._family.start(name, work)

    def bury(self) -> None:
        """Forget those that ended. Raises CoprBackendError when one cannot even start."""
        ended = [name for name, process in self.running.items() if not process.is_alive()]
        for name in ended:
            process = self.running.pop(name)
            death = death_of(self._family, process)
            if process.retiring:
                continue
            self._mourn(name, process, death)

    def replace(self, names: Iterable[str]) -> None:
        """End them; the next turn starts them with what is new."""
        for name in names:
            process = self.running.get(name)
            if process:
                process.retiring = True
                process.terminate()

    def first_start(self, name: str) -> bool:
        """True once it is ready for the first time; to be asked again and again, and started
        whenever it is due: one that somebody killed is not given up.

        Raises CoprBackendError with its reason when it fails by itself, or takes too long.
        """
        process = self.running.get(name)
        if process is None:
            return False
        if self._family.board.state(process.cell) is not State.STARTING:
            return True
        late = time.monotonic() - process.born > FIRST_START
        if process.is_alive() and not late:
            return False
        process.kill()
        death = death_of(self._family, self.running.pop(name))
        if late or not death.killed:
            reason = death.words or ("it did not get ready" if late else process.how)
            raise CoprBackendError(f"the embedded frontend did not start: {reason}")
        self._mourn(name, process, death)
        return False

    def _mourn(self, name: str, process: Process, death: Death) -> None:
        backoff = self._backoffs[name]
        backoff.note([death], time.monotonic())
        if backoff.hopeless:
            reason = backoff.words or process.how
            raise CoprBackendError(f"{name} cannot start, given up: {reason}")
        text = f"helper process {name} ended ({process.how}), starting it again"
        self._say(text, "warning", kind="helper.revived")
