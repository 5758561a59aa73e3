"""Messages on the wake channel: why the job grabber should look now, and what changed.

They are hints: whatever is lost on the way is found at the next regular look.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.exceptions import ProtocolError
from backend.pending import PendingTask

#: Why somebody wakes the grabber.
REASONS = ("new", "cancel", "outbox", "free", "dead", "drain", "mark")
#: A message names at most so many tasks; more are better fetched.
MAX_TASKS = 1000
#: The tasks of an older message (seconds) are not believed, but fetched.
MAX_AGE = 30.0


@dataclass(frozen=True, kw_only=True)
class Wake:
    """One message. `tasks`: new ones, so that nothing need be fetched (only with `new`);
    `ended`: the task that left a worker (only with `outbox` and `free`), or the text of a `mark`
    that the grabber sends to itself, to know that all earlier messages have arrived."""

    why: str
    tasks: tuple[PendingTask, ...] = ()
    ended: str = ""

    @property
    def fetch(self) -> bool:
        """True when only the frontend knows what is new."""
        return self.why == "new" and not self.tasks


def encode(why: str, tasks: Iterable[Mapping[str, Any]] = (), *, ended: str = "") -> str:
    """The text of a message; `tasks` are records as `pending-jobs/` holds them.

    Call it after the commit that made them: the time of the call is part of the message.
    """
    message: dict[str, Any] = {"why": why}
    records = list(tasks)
    if records and len(records) <= MAX_TASKS:
        message |= {"tasks": records, "when": time.time()}
    if ended:
        message["ended"] = ended
    return json.dumps(message)


def decode(text: str, now: float) -> Wake:
    """Read a message. What cannot be read, or is older than MAX_AGE, means "fetch now"."""
    if text in REASONS:
        return Wake(why=text)
    try:
        message = json.loads(text)
        why, records = str(message["why"]), message.get("tasks", [])
        if why not in REASONS or (records and not 0 <= now - message["when"] <= MAX_AGE):
            return Wake(why="new")
        tasks = tuple(PendingTask.from_record(record) for record in records)
        return Wake(why=why, tasks=tasks, ended=str(message.get("ended", "")))
    except (ValueError, KeyError, TypeError, AttributeError, ProtocolError):
        return Wake(why="new")
