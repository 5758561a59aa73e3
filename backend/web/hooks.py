"""Webhooks of projects: which there are, and the messages of finished builds for them.

A message is stored in the transaction that ends its build, so that neither a crash nor a
receiver that is away loses one; `courier` sends it.
"""

import json
import secrets
from collections.abc import Iterable
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, insert, select
from sqlalchemy.orm import Session

from backend import webhook
from backend.constants import FINISHED
from backend.web import outbound, states
from backend.web.errors import ApiError
from backend.web.models import Build, Delivery, Hook, Project
from backend.web.shapes import build_json, chroot_json, first_failure
from backend.web.store import Context
from backend.web.writer import Rows, announce

_HOOK, _DELIVERY = (cast(Table, model.__table__) for model in (Hook, Delivery))
#: At most so many addresses for a project.
MOST = 10
#: So many deliveries are shown of each.
SHOWN = 100
#: What `announce` is told when there is something to send.
NEWS = "hook"
FINISHED_EVENT, PING = "build.finished", "ping"


def known(connection: Connection) -> frozenset[int]:
    """Ids of the projects that have webhooks."""
    return frozenset(connection.scalars(select(_HOOK.c.project_id).distinct()))


async def learn(ctx: Context) -> None:
    """Know them before the first request is served: none of them must miss a build."""
    ctx.hooked.learn(await ctx.read(lambda session: known(session.connection())))


def add(session: Session, project: Project, url: object, secret: object) -> Hook:
    """A new webhook; raises ApiError."""
    if not isinstance(url, str) or not isinstance(secret, str | None):
        raise ApiError(400, "url: must be text" if not isinstance(url, str) else "secret: as well")
    address, key = url.strip(), (secret or "").strip()
    try:
        outbound.split(address)
    except ValueError as error:
        raise ApiError(400, f"url: {error}") from error
    if len(key) > 200 or not key.isprintable():
        raise ApiError(400, "secret: must be a line of at most 200 characters")
    existing = of(session, project)
    if any(hook.url == address for hook in existing):
        raise ApiError(400, f"url: {project.full_name} has this webhook already")
    if len(existing) >= MOST:
        raise ApiError(400, f"{project.full_name} has {MOST} webhooks: remove one first")
    hook = Hook(project_id=project.id, url=address, secret=key, created_on=states.now())
    session.add(hook)
    session.flush()
    announce(session, NEWS)
    return hook


def of(session: Session, project: Project) -> list[Hook]:
    """The webhooks of a project."""
    query = select(Hook).where(Hook.project_id == project.id).order_by(Hook.id)
    return list(session.scalars(query))


def get(session: Session, project: Project, number: int) -> Hook:
    """One of them, or 404."""
    hook = session.get(Hook, number) if 0 < number < 2**31 else None
    if hook is None or hook.project_id != project.id:
        raise ApiError(404, f"Project {project.full_name} has no webhook {number}.")
    return hook


def remove(session: Session, hooks: Iterable[Hook]) -> None:
    """Forget webhooks, with what they still were to be told."""
    connection = session.connection()
    for hook in hooks:
        connection.execute(delete(_DELIVERY).where(_DELIVERY.c.hook_id == hook.id))
        session.delete(hook)
    session.flush()
    announce(session, NEWS)


def new_secret() -> str:
    """What makes the addresses at which forges ask for builds hard to guess."""
    return secrets.token_hex(20)


# --- messages -------------------------------------------------------------------------------


def note(ctx: Context, session: Session | Rows, builds: Iterable[Build]) -> None:
    """Store the messages of those of the builds that are finished, each only once."""
    hooked = [build for build in builds if build.project_id in ctx.hooked.projects]
    for build in hooked:
        if _settled(build):
            _store(ctx, session, build)


def _settled(build: Build) -> bool:
    """Nothing more happens to it: a canceled build may still have tasks that are being stopped."""
    parts = [build.source_status, *(chroot.status for chroot in build.chroots)]
    return states.is_finished(build) and all(part in FINISHED for part in parts)


def _store(ctx: Context, session: Session | Rows, build: Build) -> None:
    connection = session.connection()
    told = select(_DELIVERY.c.hook_id).where(
        _DELIVERY.c.build_id == build.id, _DELIVERY.c.hook_id == _HOOK.c.id
    )
    ours = _HOOK.c.project_id == build.project_id
    hooks = list(connection.scalars(select(_HOOK.c.id).where(ours, ~told.exists())))
    if not hooks:
        return
    document = build_json(ctx, build) | {"failure": first_failure(build)}
    chroots = [chroot_json(ctx, build, chroot) for chroot in build.chroots]
    body = webhook.message(ctx.config.public_url, document, chroots).decode()
    name = webhook.delivery_id(build.id, document["state"])
    connection.execute(
        insert(_DELIVERY),
        [_row(hook, FINISHED_EVENT, name, body) | {"build_id": build.id} for hook in hooks],
    )
    announce(session, NEWS)


def _row(hook: int, event: str, name: str, body: str) -> dict[str, Any]:
    moment = states.now()
    values = {"event": event, "build_id": None, "name": name, "body": body, "tries": 0}
    return values | {"hook_id": hook, "created_on": moment, "due": moment}


def ping(session: Session, project: Project, hook: Hook) -> None:
    """Have a message sent that only says: here I am."""
    name = f"ping-{secrets.token_hex(8)}"
    about = {"owner": project.owner, "name": project.name}
    body = json.dumps({"event": PING, "delivery": name, "project": about}, sort_keys=True)
    session.connection().execute(insert(_DELIVERY), _row(hook.id, PING, name, body))
    announce(session, NEWS)


def again(session: Session, project: Project, number: int) -> Delivery:
    """Send a message once more, now."""
    delivery = session.get(Delivery, number) if 0 < number < 2**31 else None
    if delivery is None:
        raise ApiError(404, f"There is no delivery {number}.")
    get(session, project, delivery.hook_id)
    delivery.due, delivery.tries, delivery.ended_on = states.now(), 0, None
    delivery.created_on = states.now()
    announce(session, NEWS)
    return delivery


def deliveries(session: Session, hook: Hook, limit: int = 30) -> list[Delivery]:
    """The newest ones first."""
    query = select(Delivery).where(Delivery.hook_id == hook.id).order_by(Delivery.id.desc())
    return list(session.scalars(query.limit(limit)))
