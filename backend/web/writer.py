"""One writer for all requests: what arrives while a commit is on its way shares the next one.

A commit waits for the disk; that wait is paid once for a group of requests instead of once for
each. Nobody is answered before the commit that holds his changes.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

T = TypeVar("T")
News = list[tuple[str, list[dict[str, Any]]]]
#: Wakes the job grabber: why, and the new tasks as records of `pending-jobs/`.
Wake = Callable[[str, list[dict[str, Any]]], None]
#: Most requests that share a commit: what the last of them waits for is bounded.
GROUP = 64
#: A commit that takes longer, in seconds, is worth a thread.
SLOW_COMMIT = 0.005
_NEWS = "news"


@dataclass(eq=False)
class Rows:
    """What the body of a write gets that needs no ORM: a Session costs more than its work."""

    bind: Connection
    info: dict[Any, Any] = field(default_factory=dict)

    def connection(self) -> Connection:
        """The connection, in its transaction."""
        return self.bind


def announce(session: Session | Rows, why: str, tasks: list[dict[str, Any]] | None = None) -> None:
    """Have the job grabber woken once the transaction of `session` is committed."""
    session.info.setdefault(_NEWS, []).append((why, tasks or []))


@dataclass(eq=False)
class _Write:
    body: Callable[[Any], Any]
    plain: bool
    future: "asyncio.Future[Any]"
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        if self.future.done():  # nobody waits any more
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Owns the right to write: `transaction` for threads, `write` for the event loop.

    With `inline` all is done on the event loop: right for a database in this process (SQLite),
    where a statement takes microseconds and another thread would have to fight for the
    interpreter. Commits leave it where the disk is slow. Else all of it happens in a thread.
    """

    def __init__(self, engine: Engine, wake: Wake, *, inline: bool) -> None:
        self._engine = engine.execution_options(copr_write=True)
        self._wake = wake
        self._inline = inline
        self._commits = 0.0  # how long they take of late, in seconds
        self._turn = threading.Lock()
        self._waiting: deque[_Write] = deque()
        self._runner: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction of one's own, in a thread; commits at the end, then wakes."""
        with self._turn, Session(self._engine, expire_on_commit=False) as session:
            try:
                with session.begin():
                    yield session
            except SQLAlchemyError:
                session.invalidate()
                raise
            self._tell(session.info.pop(_NEWS, []))

    async def write(self, body: Callable[[Session], T]) -> T:
        """Run `body`, and return its result after the commit.

        What it raises is raised here, and undoes only its own changes. It must be quick, for
        all requests wait for it, and do nothing but look at the database and change it: when
        another request of its group fails, it runs once more.
        """
        return await self._enter(body, plain=False)

    async def write_rows(self, body: Callable[[Rows], T]) -> T:
        """The same for a body that does without the ORM."""
        return await self._enter(body, plain=True)

    async def _enter(self, body: Callable[[Any], T], *, plain: bool) -> T:
        loop = asyncio.get_running_loop()
        entry = _Write(body, plain, loop.create_future())
        self._waiting.append(entry)
        if self._runner is None or self._runner.done():
            self._runner = loop.create_task(self._run())
        result: T = await entry.future
        return result

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if not self._turn.acquire(blocking=False):
                await loop.run_in_executor(None, self._turn.acquire)
            group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
            try:
                await self._perform(loop, group)
            finally:
                self._turn.release()

    async def _perform(self, loop: asyncio.AbstractEventLoop, group: list[_Write]) -> None:
        """All in one transaction; if one of them fails, each in one of its own. A savepoint
        around each would cost more than most of them."""
        try:
            await self._attempt(loop, group)
        except Exception as error:  # noqa: BLE001  (each request answers it in its own way)
            if len(group) > 1:
                for entry in group:
                    await self._perform(loop, [entry])
                return
            group[0].error = error
        for entry in group:
            entry.settle()

    async def _attempt(self, loop: asyncio.AbstractEventLoop, group: list[_Write]) -> None:
        """One transaction; raises what goes wrong, and then nothing has changed."""
        news: News = []

        def all_of_it() -> None:
            with self._connection() as connection:
                _bodies(connection, group, news)
                _commit(connection)

        if not self._inline:
            await loop.run_in_executor(None, all_of_it)
        else:
            with self._connection() as connection:
                _bodies(connection, group, news)
                await self._commit(loop, connection)
        if news:
            loop.run_in_executor(None, self._tell, news)

    async def _commit(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        """Commit, in a thread if that takes longer than handing it over: readers go on then."""
        start = time.monotonic()
        if self._commits > SLOW_COMMIT:
            await loop.run_in_executor(None, _commit, connection)
        else:
            _commit(connection)
        self._commits += (time.monotonic() - start - self._commits) / 8

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection that is thrown away after an error of the database: its transaction may
        be half open. After any other error it is rolled back."""
        with self._engine.connect() as connection:
            try:
                connection.begin()
                yield connection
            except (SQLAlchemyError, asyncio.CancelledError):
                connection.invalidate()
                raise

    def _tell(self, found: News) -> None:
        """Wake the grabber, once for each reason."""
        news: dict[str, list[dict[str, Any]]] = {}
        blind = set()
        for why, tasks in found:
            news.setdefault(why, []).extend(tasks)
            if not tasks:
                blind.add(why)  # only a look at everything shows what it was
        for why, tasks in news.items():
            self._wake(why, [] if why in blind else tasks)


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except BaseException:
        connection.invalidate()
        raise


def _bodies(connection: Connection, group: list[_Write], news: News) -> None:
    """Run each body in the connection's transaction."""
    for entry in group:
        if entry.plain:
            rows = Rows(connection)
            entry.result = entry.body(rows)
            news += rows.info.get(_NEWS, [])
            continue
        mode: Any = "rollback_only"
        options: dict[str, Any] = {"expire_on_commit": False, "join_transaction_mode": mode}
        with Session(connection, **options) as session:
            entry.result = entry.body(session)
            session.commit()  # writes its changes; the transaction stays open
            news += session.info.get(_NEWS, [])
