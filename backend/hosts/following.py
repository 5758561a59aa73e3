"""A run whose log is being sent to its worker, and what tells that it has ended."""

import contextlib
import json
import os
from typing import Any

from backend.hosts.runs import Run
from backend.hosts.wire import CHUNK


class Following:
    """The log of `run` from `offset` on. `wake` is readable when there is news of it."""

    def __init__(self, run: Run, offset: int) -> None:
        """Raises FileNotFoundError if there is no such run any more."""
        self.run, self.offset = run, offset
        self._log = os.open(run.path / "log", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.wake = run.fifo("wake")
        except OSError:
            os.close(self._log)
            raise

    def awake(self) -> None:
        """The news that have woken us are old now."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, 65536)

    def read(self) -> bytes:
        """The next piece of the log; empty if there is no more yet."""
        data = os.pread(self._log, CHUNK, self.offset)
        self.offset += len(data)
        return data

    def outcome(self) -> dict[str, Any] | None:
        """How the build ended; None while it runs. What was logged before is there by then."""
        try:
            found: dict[str, Any] = json.loads((self.run.path / "outcome.json").read_text())
        except FileNotFoundError:
            with self.run.abandoned() as dead:
                if dead or not self.run.path.exists():
                    text = "the guard of the build was killed on its host"
                    return {"error": "Killed", "text": text}
            return None
        return found

    def close(self) -> None:
        """Send no more of it."""
        os.close(self._log)
        os.close(self.wake)
