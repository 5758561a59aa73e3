"""The webhook's part of the log process: a sink that notes builds, and a thread that sends.

The thread alone talks to other machines, so that a receiver that hangs holds nobody up.
"""

import contextlib
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from backend.config import Config
from backend.events import Event, Events
from backend.redis_server import connect
from backend.spool import Spool
from backend.webhook import Sender, Target, serve

#: Kind of the event that says: the frontend took a report, its build may be finished.
REPORTED = "task.reported"
#: Pause after trouble with the database, in seconds.
PAUSE = 5.0


def open_spool(path: Path) -> Spool:
    """The database at `path`; a damaged one is put aside for a new one."""
    try:
        return Spool(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = path.with_suffix(".broken")
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        print(f"log: {path} is damaged ({error}): put aside as {aside.name}", file=sys.stderr)
        return Spool(path)


class Webhook:
    """`sink` is called with events; `start` begins to send. Trouble with the database never
    reaches the caller: what could not be noted is noted with the next events."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._path = config.statedir / "webhook.sqlite"
        self._spool: Spool | None = None
        self._unsaved: set[int] = set()
        self._more = threading.Event()
        self._quiet = False

    def sink(self, events: Sequence[Event]) -> None:
        """Note the builds that may be finished."""
        self._unsaved |= {e.build for e in events if e.kind == REPORTED and e.build is not None}
        if not self._unsaved:
            return
        try:
            self._spool = self._spool or open_spool(self._path)
            self._spool.note(self._unsaved, time.time())
        except (sqlite3.Error, OSError) as error:
            self._forget(error)
            return
        self._unsaved.clear()
        self._quiet = False
        self._more.set()

    def _forget(self, error: Exception) -> None:
        if not self._quiet:
            print(f"log: webhook: {self._path}: {error}", file=sys.stderr, flush=True)
        self._quiet = True
        self.close()

    def close(self) -> None:
        """Close the database of `sink`, which opens it again when needed."""
        with contextlib.suppress(sqlite3.Error):
            if self._spool:
                self._spool.close()
        self._spool = None

    def start(self) -> None:
        """Send in a thread of its own; it ends with the process."""
        threading.Thread(target=self._run, name="webhook", daemon=True).start()

    def _run(self) -> None:
        config = self._config
        target = Target(
            url=config.webhook_url,
            secret=config.webhook_secret,
            timeout=config.webhook_timeout,
            give_up=config.webhook_give_up,
            frontend=config.frontend_url,
            public=config.frontend_base_url.rstrip("/") or config.public_url,
        )
        events = Events(connect(config), "webhook")

        def say(text: str, level: str, kind: str) -> None:
            events.emit(text, level, kind=kind)

        while True:
            try:
                with contextlib.closing(Sender(target, open_spool(self._path), say)) as sender:
                    serve(sender, self._wait)
            except (sqlite3.Error, OSError) as error:
                print(f"log: webhook: {self._path}: {error}", file=sys.stderr, flush=True)
                self._wait(PAUSE)

    def _wait(self, seconds: float) -> None:
        self._more.wait(seconds)
        self._more.clear()
