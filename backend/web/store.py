"""The database door: engine, and sessions for reading and for writing."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.orm import Session

from backend.config import Config

#: Milliseconds that a writer waits for another one.
BUSY_TIMEOUT = 30_000


def database_url(config: Config) -> str:
    """The configured URL, or SQLite in statedir."""
    return config.web_database_url or f"sqlite:///{config.statedir / 'frontend.sqlite'}"


def make_engine(url: str) -> Engine:
    """An engine for `url`; SQLite gets WAL, foreign keys and honest transactions."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not guess when to begin
    for pragma in (f"busy_timeout={BUSY_TIMEOUT}", "journal_mode=WAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("copr_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def hash_token(token: str) -> str:
    """What is stored of an API token."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every request handler needs."""

    config: Config
    password: str = field(repr=False)
    chroots: tuple[str, ...]
    wake: Callable[[str], None]
    engine: Engine

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view of the database."""
        with Session(self.engine) as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that holds SQLite's write lock from its start; commits at the end."""
        engine = self.engine.execution_options(copr_write=True)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
