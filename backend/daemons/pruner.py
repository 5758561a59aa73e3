"""Prunes by itself, now and then: in a process of the actions' pool, after all actions."""

import contextlib
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from backend.action_plan import Waiting
from backend.config import Config
from backend.events import Events
from backend.exceptions import CoprBackendError
from backend.frontend import Frontend
from backend.prune import Books, Pruner, alone

#: Stands for the prune among the numbers of actions; none of those is zero.
PRUNE = 0
#: Later than every action.
_PRIORITY = 10_000
#: Exit codes, as those of an action's process.
DONE, FAULT = 0, 10


def stamp(config: Config) -> Path:
    """Was touched when everything had been pruned."""
    return config.statedir / "pruned"


def due(config: Config, now: float) -> bool:
    """True when it is time again; `now` in seconds since the epoch."""
    if not config.prune_every:
        return False
    try:
        last = stamp(config).stat().st_mtime
    except FileNotFoundError:
        return True
    return not last <= now < last + config.prune_every


def waiting() -> Waiting:
    """The prune as something that waits for its turn."""
    return Waiting(PRUNE, _PRIORITY, frozenset())


def carry_out(config: Config, frontend: Frontend, events: Events, reason: Connection) -> int:
    """Prune everything; returns the exit code. `reason` gets the words of a fault."""
    try:
        with _books(config, frontend) as books, alone(config):
            pruner = Pruner(config=config, books=books, say=lambda _text: None)
            done = pruner.carry_out(pruner.plan(time.time()))
    except (CoprBackendError, OSError) as error:
        failed = [str(error)]
    else:
        failed = pruner.failed
        if done:
            free = sum(step.bytes for step in done) / 1024**2
            events.emit(f"pruned {len(done)} results, {free:.1f} MiB", kind="farm.pruned")
    if failed:
        reason.send_bytes(f"prune: {failed[0]}".encode()[:4000])
        return FAULT
    stamp(config).touch()
    return DONE


@contextlib.contextmanager
def _books(config: Config, frontend: Frontend) -> Iterator[Books]:
    if not config.embedded:
        from backend.prune_remote import RemoteBooks  # noqa: PLC0415  (only who needs it)

        yield RemoteBooks(frontend, config.frontend_url)
        return
    from backend.web.books import EmbeddedBooks  # noqa: PLC0415  (heavy, only in this process)
    from backend.web.store import database_url, make_engine  # noqa: PLC0415

    engine = make_engine(database_url(config))
    try:
        yield EmbeddedBooks(engine)
    finally:
        engine.dispose()
