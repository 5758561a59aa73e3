"""How much was going on over time: a sample each minute, for the plots of the front page."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, func, insert, or_, select
from sqlalchemy.orm import Session

from backend.constants import Status
from backend.web.models import Build, BuildChroot, Sample
from backend.web.states import now
from backend.web.store import Context

_log = logging.getLogger(__name__)
_TABLE = cast(Table, Sample.__table__)
#: Seconds between samples, and how long they are kept.
EVERY = 60
KEEP = 7 * 24 * 3600
_BUSY = (int(Status.STARTING), int(Status.RUNNING))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Unfinished tasks."""

    running: int
    waiting: int


def counts(session: Session) -> Counts:
    """Tasks that are worked on, and those that wait."""
    found: dict[int, int] = {}
    chroots = select(BuildChroot.status, func.count()).where(
        BuildChroot.status.in_((int(Status.PENDING), *_BUSY))
    )
    sources = select(Build.source_status, func.count()).where(
        Build.source_status.in_((int(Status.PENDING), *_BUSY))
    )
    for query, column in ((chroots, BuildChroot.status), (sources, Build.source_status)):
        for status, number in session.execute(query.group_by(column)):
            found[status] = found.get(status, 0) + number
    running = sum(found.get(status, 0) for status in _BUSY)
    return Counts(running=running, waiting=found.get(int(Status.PENDING), 0))


def at_least(running: int, ended: tuple[int, int]) -> int:
    """How many tasks ran: builds of seconds run between two samples, and would never be seen."""
    return max(running, 1 if any(ended) else 0)


def take(ctx: Context, session: Session, at: int) -> None:
    """Store a sample, unless nothing at all has changed; forget the oldest ones."""
    connection = session.connection()
    seen = counts(session)
    succeeded, failed = ctx.tally.since_sample()
    running = at_least(seen.running, (succeeded, failed))
    values = {"running": running, "waiting": seen.waiting}
    values |= {"succeeded": succeeded, "failed": failed}
    last = _last(connection)
    if last is not None and not any((*values.values(), *last)):
        return
    connection.execute(delete(_TABLE).where(_TABLE.c.at == at))
    connection.execute(insert(_TABLE).values(at=at, **values))
    connection.execute(delete(_TABLE).where(_TABLE.c.at < at - KEEP))


def _last(connection: Connection) -> Sequence[int] | None:
    columns = (_TABLE.c.running, _TABLE.c.waiting, _TABLE.c.succeeded, _TABLE.c.failed)
    row = connection.execute(select(*columns).order_by(_TABLE.c.at.desc()).limit(1)).first()
    return None if row is None else tuple(row)


def lately(session: Session, since: int) -> Sequence[Any]:
    """Samples after `since` as rows, oldest first."""
    query = select(_TABLE).where(_TABLE.c.at > since).order_by(_TABLE.c.at)
    return session.connection().execute(query).all()


def first(session: Session) -> int | None:
    """When the oldest sample was taken that tells of any task."""
    columns = (_TABLE.c.running, _TABLE.c.waiting, _TABLE.c.succeeded, _TABLE.c.failed)
    some = or_(*(column > 0 for column in columns))
    return session.scalar(select(_TABLE.c.at).where(some).order_by(_TABLE.c.at).limit(1))


async def sampling(ctx: Context) -> None:
    """Take a sample each minute, for ever."""
    while True:
        try:
            await ctx.write(lambda session: take(ctx, session, now()))
        except Exception:  # noqa: BLE001  (plots are no reason to stop)
            _log.exception("cannot store a sample for the plots")
        await asyncio.sleep(EVERY)
