"""`copr_be.py` user, backup, restore: what is done with the embedded frontend's database.

They work while the daemon runs (restore apart), and as its user: files that root made would be
closed to it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend import sign
from backend.commands.master import Master
from backend.config import Config
from backend.constants import Exit
from backend.exceptions import CoprBackendError
from backend.identity import Identity
from backend.web import accounts, backup, schema
from backend.web.models import User
from backend.web.setup import cli_config
from backend.web.store import database_url, make_engine


@contextlib.contextmanager
def engine_of(config: Config) -> Iterator[Engine]:
    """The database, as the daemon's user; its errors leave as CoprBackendError."""
    if not config.embedded:
        raise CoprBackendError(
            f"the frontend at {config.frontend_base_url} has its own users and backups:"
            " this is for the embedded one (frontend_base_url empty)"
        )
    identity = Identity.of(config)
    if identity:
        identity.assume()
    if not config.statedir.is_dir():
        raise CoprBackendError(f"statedir {config.statedir} is not there: start the daemon first")
    engine = make_engine(database_url(config))
    try:
        yield engine
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise CoprBackendError(
            f"the frontend's database cannot be used: {reason}: check web.database_url and statedir"
        ) from error
    finally:
        engine.dispose()


def user(
    config: Config, what: str, name: str | None, *, days: int | None, keep_projects: bool
) -> int:
    """Add, list, remove users, or give one a new token; tokens are printed once."""
    if what != "list" and not name:
        raise CoprBackendError(f"user {what}: name the user")
    with engine_of(config) as engine:
        schema.prepare(engine)
        with Session(engine.execution_options(copr_write=True)) as session, session.begin():
            if what == "list":
                for found in session.scalars(select(User).order_by(User.name)):
                    print(f"{found.name}\ttoken expires: {accounts.day(found.expires_on)}")
                return Exit.OK
            assert name
            if what == "remove":
                accounts.remove(session, name, keep_projects=keep_projects)
                print(f"{name} is no user any more")
                return Exit.OK
            good_for = config.web_token_days if days is None else days
            if what == "add":
                token = accounts.add(session, name, good_for)
            else:
                token = accounts.renew(accounts.get(session, name), good_for)
        print(cli_config(config, token), end="")
    return Exit.OK


def make_backup(config: Config, path: Path) -> int:
    """Write everything but published results to `path`, readable only by its owner."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CoprBackendError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(fd, "wb") as out:
        try:
            with engine_of(config) as engine:
                schema.prepare(engine)
                count = backup.dump(engine, config.statedir, out)
            out.flush()
            os.fsync(out.fileno())
        except BaseException as error:
            out.truncate(0)  # nobody takes half an archive for a whole one
            if isinstance(error, OSError):
                raise CoprBackendError(f"cannot write {path}: {error.strerror}") from error
            raise
    print(f"{count} rows in {path}; results are not in it: copy {config.destdir} by other means")
    if config.signing_backend == sign.GPG:
        print("keys of projects are not in it either: copr_be.py key export")
    return Exit.OK


def restore(config: Config, pidfile: Path | None, path: Path, *, force: bool) -> int:
    """Put an archive in place of the database, while the daemon is stopped."""
    if Master.find(config, pidfile):
        raise CoprBackendError("the daemon runs: copr_be.py stop, then restore")
    try:
        archive = path.open("rb")
    except OSError as error:
        raise CoprBackendError(f"cannot read {path}: {error.strerror}") from error
    with archive, engine_of(config) as engine:
        count = backup.restore(engine, config.statedir, archive, force=force)
    print(f"{count} rows from {path}")
    return Exit.OK
