"""`copr_be.py promote`: a set of builds goes into another project, in one step."""

import contextlib
import select as waiting
import time
from pathlib import Path

import redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from backend.commands.master import Master
from backend.commands.store import engine_of
from backend.commands.text import count
from backend.config import Config
from backend.constants import ACTION_CHANNEL, Exit
from backend.exceptions import CoprBackendError
from backend.redis_server import connect
from backend.web import promote, schema
from backend.web.errors import ApiError
from backend.web.models import Project
from backend.web.queries import get_project

#: Seconds between two looks at the action.
_LOOK = 0.2


def run(
    config: Config,
    pidfile: Path | None,
    source: str,
    target: str,
    builds: list[int],
    *,
    limit: float,
) -> int:
    """Promote, and wait until the daemon has done it, at most `limit` seconds."""
    with engine_of(config) as engine:
        schema.prepare(engine)
        try:
            with (
                Session(engine.execution_options(copr_write=True)) as session,
                session.begin(),
            ):
                there, here = _project(session, source), _project(session, target)
                action, copies = promote.promote(session, there, here, builds, who=here.owner)
                number = action.id
                made = ", ".join(str(build.id) for build in copies)
        except ApiError as error:
            raise CoprBackendError(error.text) from error
        print(f"{count(len(builds), 'build')} of {source} → {target}: {made}")
        if not Master.find(config, pidfile):
            print("the daemon does not run: it publishes them when it starts")
            return Exit.OK
        _ring(config)
        return _wait(engine, number, limit)


def _project(session: Session, name: str) -> Project:
    owner, slash, project = name.partition("/")
    if not slash:
        raise CoprBackendError(f"{name}: write OWNER/NAME")
    return get_project(session, owner, project)


def _ring(config: Config) -> None:
    client = connect(config, timeout=2.0)
    with contextlib.suppress(redis.RedisError, OSError):  # it looks by itself, a little later
        client.publish(ACTION_CHANNEL, "")
    client.close()


def _wait(engine: Engine, number: int, limit: float) -> int:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with Session(engine) as session:
            found = promote.state(session, number)
        if found and found["state"] == "succeeded":
            print("published")
            return Exit.OK
        if found is None or found["state"] == "failed":
            why = found["message"] if found else "its action is gone"
            raise CoprBackendError(f"not promoted: {why}")
        waiting.select([], [], [], _LOOK)
    raise CoprBackendError(
        f"not published within {limit:g} s: the daemon goes on trying, see action {number}"
        " in its log"
    )
