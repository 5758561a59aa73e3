"""First start: database, the admin user, and a configuration for copr-cli."""

import configparser
import io
import os
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.config import Config
from backend.exceptions import CoprBackendError
from backend.web import accounts, housekeeping, schema
from backend.web.store import database_url, make_engine


def first_start(config: Config) -> None:
    """Make what is missing; harmless when repeated.

    Without the copr-cli configuration the admin user gets a new token: the old one is known
    only as a hash. Raises CoprBackendError with fact and remedy.
    """
    if not accounts.is_name(config.web_admin_user):
        raise CoprBackendError(f"web.admin_user is {config.web_admin_user!r}: {accounts.RULE}")
    for key, directory in (("destdir", config.destdir), ("statedir", config.statedir)):
        _need_writable(key, directory)
    engine = make_engine(database_url(config))
    try:
        schema.prepare(engine)
        with (
            Session(engine.execution_options(copr_write=True)) as session,
            session.begin(),
        ):
            _admin(session, config)
            housekeeping.sweep_uploads(config, session)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise CoprBackendError(
            f"the frontend's database cannot be used: {reason}: check web.database_url and statedir"
        ) from error
    finally:
        engine.dispose()


def _need_writable(key: str, directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK | os.X_OK)
    except OSError as error:
        raise CoprBackendError(
            f"{key} {directory} cannot be made: {error.strerror}: make it, owned by the user that"
            f" runs the daemon, or set {key} to another directory"
        ) from error
    if not writable:
        raise CoprBackendError(
            f"{key} {directory} is not writable for uid {os.geteuid()}: chown it to the user that"
            f" runs the daemon, or set {key} to another directory"
        )


def _admin(session: Session, config: Config) -> None:
    user = accounts.find(session, config.web_admin_user)
    if user is not None and config.web_cli_config.exists():
        return
    if user is None:
        token = accounts.add(session, config.web_admin_user, 0)
    else:
        token = accounts.renew(user, 0)
    session.flush()
    _write_cli_config(config, cli_config(config, token))


def cli_config(config: Config, token: accounts.Token) -> str:
    """What copr-cli needs to know to act as a user of this frontend."""
    parser = configparser.ConfigParser(interpolation=None)
    parser["copr-cli"] = {
        "username": token.name,
        "login": token.login,
        "token": token.token,
        "copr_url": config.public_url,
    }
    if config.public_url.startswith("http://"):
        parser["copr-cli"]["encrypted"] = "false"
    text = io.StringIO()
    parser.write(text)
    return text.getvalue().rstrip() + f"\n# expiration date: {token.expiration}\n"


def _write_cli_config(config: Config, text: str) -> None:
    target = config.web_cli_config
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        temporary.replace(target)
    except OSError as error:
        raise CoprBackendError(
            f"cannot write {target}: {error.strerror}: make its directory writable, or set"
            " web.cli_config to another file"
        ) from error
