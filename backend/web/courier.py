"""Sends the messages of webhooks, beside the requests: several at once, one for each webhook.

A receiver that does not take a message gets it again, later and later; what comes after it waits
as well, so that messages arrive in their order.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Table, delete, func, select, update
from sqlalchemy.orm import Session

from backend.web import hooks, outbound
from backend.web.models import Delivery, Hook
from backend.web.store import Context
from backend.webhook import backoff, headers

_log = logging.getLogger(__name__)
_HOOK, _DELIVERY = (cast(Table, model.__table__) for model in (Hook, Delivery))
#: Messages on their way at once.
AT_ONCE = 8
#: Seconds after which a message is given up.
GIVE_UP = 3 * 24 * 3600
#: So many deliveries of a webhook are remembered.
KEPT = 100
_PAUSE = 5.0
_LONGEST = 3600.0
Post = Callable[[str, dict[str, str], bytes], Awaitable[int]]


@dataclass(frozen=True)
class _Outcome:
    """How a try went: the HTTP status, if any, and what is wrong with it."""

    status: int | None = None
    trouble: str | None = None
    hopeless: bool = False

    @property
    def taken(self) -> bool:
        return self.trouble is None


class Courier:
    """`once` begins what is due; `run` does so for ever."""

    def __init__(
        self, ctx: Context, post: Post | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        gate = outbound.Gate.of(ctx.config.web_hook_networks)

        async def guarded(url: str, fields: dict[str, str], body: bytes) -> int:
            return await outbound.post(url, fields, body, gate)

        self._ctx = ctx
        self._post = post or guarded
        self._clock = clock
        self._busy: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Send for ever; whatever goes wrong is tried again."""
        bell = self._ctx.hooked.bell
        while True:
            bell.clear()
            try:
                pause = await self.once()
            except Exception:  # noqa: BLE001  (the database is away, or whatever it is: go on)
                _log.exception("cannot look for messages of webhooks")
                pause = _PAUSE
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), pause)

    async def stop(self) -> None:
        """Give up what is on its way: it is still noted as to be sent."""
        for task in self._busy.values():
            task.cancel()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def once(self) -> float:
        """Begin to send what is due; returns in how many seconds to look again."""
        now = self._clock()
        projects, first = await self._ctx.read(self._look)
        self._ctx.hooked.learn(projects)
        for row in first:
            if row.due > int(now):
                return min(float(row.due) - now, _LONGEST)
            if len(self._busy) >= AT_ONCE:
                return _LONGEST  # the end of one rings the bell
            task = asyncio.get_running_loop().create_task(self._deliver(row))
            self._busy[row.hook_id] = task
        return _LONGEST

    def _look(self, session: Session) -> tuple[frozenset[int], list[Any]]:
        """Projects with webhooks; the first message of each webhook that none is on its way to,
        in the order of their time."""
        connection = session.connection()
        projects = hooks.known(connection)
        if not projects:
            return projects, []
        first = (
            select(func.min(_DELIVERY.c.id))
            .where(_DELIVERY.c.due.is_not(None), _DELIVERY.c.hook_id.not_in(list(self._busy)))
            .group_by(_DELIVERY.c.hook_id)
        )
        query = (
            select(_DELIVERY, _HOOK.c.url, _HOOK.c.secret)
            .join(_HOOK, _HOOK.c.id == _DELIVERY.c.hook_id)
            .where(_DELIVERY.c.id.in_(first))
            .order_by(_DELIVERY.c.due, _DELIVERY.c.id)
            .limit(AT_ONCE)
        )
        return projects, list(connection.execute(query).all())

    async def _deliver(self, row: Any) -> None:
        try:
            outcome = await self._try(row)
            await self._ctx.write(lambda session: self._note(session, row, outcome))
        except Exception:  # noqa: BLE001  (the message is still noted as to be sent)
            _log.exception("cannot note how a message of a webhook was delivered")
            await asyncio.sleep(_PAUSE)
        finally:
            self._busy.pop(row.hook_id, None)
            self._ctx.hooked.bell.set()

    async def _try(self, row: Any) -> _Outcome:
        body = row.body.encode()
        fields = headers(row.name, body, row.secret, self._clock(), event=row.event)
        try:
            status = await self._post(row.url, fields, body)
        except outbound.Refused as error:
            return _Outcome(trouble=str(error), hopeless=True)
        except outbound.Trouble as error:
            return _Outcome(trouble=str(error))
        if 200 <= status < 300:
            return _Outcome(status)
        return _Outcome(status, f"it answered {status}")

    def _note(self, session: Session, row: Any, outcome: _Outcome) -> None:
        now = self._clock()
        over = outcome.taken or outcome.hopeless or now - row.created_on > GIVE_UP
        values = {
            "tries": row.tries + 1,
            "status": outcome.status,
            "trouble": outcome.trouble,
            "due": None if over else int(now + backoff(row.tries)),
            "ended_on": int(now) if over else None,
        }
        connection = session.connection()
        connection.execute(update(_DELIVERY).where(_DELIVERY.c.id == row.id).values(values))
        old = (
            select(_DELIVERY.c.id)
            .where(_DELIVERY.c.hook_id == row.hook_id, _DELIVERY.c.due.is_(None))
            .order_by(_DELIVERY.c.id.desc())
            .offset(KEPT)
            .limit(2**31)
        )
        gone = list(connection.scalars(old))
        if gone:
            connection.execute(delete(_DELIVERY).where(_DELIVERY.c.id.in_(gone)))
