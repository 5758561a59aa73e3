"""The database door: engine, and sessions for reading and for writing."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from backend.config import Config
from backend.exceptions import ConfigError
from backend.explain import Explain, nothing
from backend.farmview import Look, nobody
from backend.web import finals  # noqa: F401  (listens to all sessions)
from backend.web.hooked import Hooked
from backend.web.marks import Marks
from backend.web.rates import Rates
from backend.web.tailer import Tailers
from backend.web.tally import Tally
from backend.web.writer import Rows, Wake, Writer

T = TypeVar("T")

#: Milliseconds that a writer waits for another one.
BUSY_TIMEOUT = 30_000


def database_url(config: Config) -> str:
    """The configured URL, or SQLite in statedir."""
    return config.web_database_url or f"sqlite:///{config.statedir / 'frontend.sqlite'}"


def make_engine(url: str) -> Engine:
    """An engine for `url`; SQLite gets WAL, foreign keys and honest transactions."""
    try:
        engine = create_engine(url)
    except (SQLAlchemyError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"[web] database_url: {reason}: write postgresql+psycopg://USER:PASSWORD@HOST/NAME,"
            " or leave it empty for SQLite"
        ) from error
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


def in_process(engine: Engine) -> bool:
    """True for a database without a server, whose statements cost no waiting."""
    return engine.dialect.name == "sqlite"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every request handler needs. In threads use `reading` and `writing`, on the event
    loop `read` and `write`."""

    config: Config
    password: str = field(repr=False)
    chroots: tuple[str, ...]
    engine: Engine
    writer: Writer
    rates: Rates
    hook_rates: Rates
    explain: Explain = nothing
    look: Look = nobody
    tally: Tally = field(default_factory=Tally)
    tailers: Tailers = field(default_factory=Tailers)
    hooked: Hooked = field(default_factory=Hooked)
    marks: Marks = field(default_factory=Marks)

    @classmethod
    def of(
        cls,
        config: Config,
        password: str,
        chroots: tuple[str, ...],
        engine: Engine,
        wake: Wake,
        *,
        explain: Explain = nothing,
        look: Look = nobody,
        hooked: Hooked | None = None,
    ) -> "Context":
        """A context with a writer of its own."""
        return cls(
            config=config,
            password=password,
            chroots=chroots,
            engine=engine,
            writer=Writer(engine, wake, inline=in_process(engine)),
            rates=Rates(config.web_upload_rate),
            hook_rates=Rates(config.web_hook_rate, what="requests", option="web.hook_rate"),
            explain=explain,
            look=look,
            hooked=hooked or Hooked(),
        )

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view of the database."""
        with Session(self.engine) as session:
            yield session

    def writing(self) -> contextlib.AbstractContextManager[Session]:
        """A transaction that holds the right to write from its start; commits at the end."""
        return self.writer.transaction()

    async def read(self, body: Callable[[Session], T]) -> T:
        """Result of a short `body` over one consistent view of the database."""

        def work() -> T:
            with self.reading() as session:
                return body(session)

        return work() if in_process(self.engine) else await run_in_threadpool(work)

    async def write(self, body: Callable[[Session], T]) -> T:
        """Result of a short `body`, once its changes are committed; see `Writer.write`."""
        return await self.writer.write(body)

    async def write_rows(self, body: Callable[[Rows], T]) -> T:
        """The same for a body that does without the ORM."""
        return await self.writer.write_rows(body)
