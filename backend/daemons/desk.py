"""What the parts of the job grabber share."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from backend.config import Config
from backend.conveyor import Conveyor
from backend.events import Events
from backend.frontend import Frontend
from backend.queues import Queues


class Asking(Protocol):
    """A way to ask the frontend; `daemons.lanes.Lane` is the real one."""

    busy: bool

    def ask(
        self,
        request: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run the request, then call one of the two."""


@dataclass
class Desk:
    """`frontend` makes a client, `lane` a way to use it without waiting for it."""

    config: Config
    queues: Queues
    events: Events
    conveyor: Conveyor
    frontend: Callable[[], Frontend]
    lane: Callable[[str], Asking]
    drained: str = ""
    #: Which disk has no room for new builds; empty: all have.
    full: str = ""

    @property
    def halted(self) -> str:
        """Why nothing new may start."""
        return f"the farm is drained: {self.drained}" if self.drained else self.disk_words

    @property
    def disk_words(self) -> str:
        """The same, because of a disk."""
        return f"the disk is nearly full: {self.full}" if self.full else ""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def tick(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def tell(self, task_id: str) -> None:
        """The webhook asks the frontend whether the build is finished by that."""
        if self.config.webhook_url:
            self.events.emit(f"build {task_id}: reported", "debug", kind="task.reported")
