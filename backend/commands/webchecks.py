"""What `copr_be.py check` looks at of the embedded frontend. Nothing here changes anything."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from backend.commands.finding import CONFIGURATION, Finding
from backend.commands.master import Master
from backend.config import Config
from backend.daemons import web
from backend.exceptions import ConfigError, CoprBackendError
from backend.frontend import Frontend

WEB_MODULES = ("fastapi", "uvicorn", "sqlalchemy", "jinja2", "multipart")


def everything(config: Config, master: Master | None) -> Iterator[Finding]:
    """All checks, in the order in which a start would meet them."""
    found = modules()
    yield found
    yield port(config, master)
    yield from cli_config(config)
    if found.level == "ok":
        yield from admin(config)
        yield database(config)


def modules() -> Finding:
    """The Python packages of the embedded frontend."""
    missing = [name for name in WEB_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        text = f"the embedded frontend needs {', '.join(missing)}: pip install 'copr-backend[web]'"
        return Finding("frontend", "fault", text)
    return Finding("frontend", "ok", "embedded; its Python packages are installed")


def port(config: Config, master: Master | None) -> Finding:
    """The embedded frontend's port is free, or in use by our own daemon."""
    where = f"{config.web_host} port {config.web_port}"
    try:
        web.listen(config).close()
    except CoprBackendError as error:
        if master and _answers(config):
            return Finding("port", "ok", f"{where}: in use by the running daemon")
        return Finding("port", "fault", str(error))
    if master:
        text = f"nobody listens on {where}, although the daemon runs: with another port? restart it"
        return Finding("port", "fault", text)
    return Finding("port", "ok", f"{where}: free")


def _answers(config: Config) -> bool:
    client = Frontend(config.listen_url, "", timeout=5)
    try:
        client.pending()
    except CoprBackendError:
        return False
    finally:
        client.close()
    return True


def cli_config(config: Config) -> Iterator[Finding]:
    """The file that the first start writes can be written; nothing is said if so."""
    path = config.web_cli_config
    try:
        place = path.parent
        while not place.exists() and place != place.parent:
            place = place.parent
        wrong = "it is a directory" if path.is_dir() else ""
        wrong = wrong or ("" if place.is_dir() else f"{place} is no directory")
        wrong = wrong or ("" if os.access(place, os.W_OK) else f"{place} is not writable")
    except OSError as error:
        wrong = error.strerror or str(error)
    if wrong:
        text = f"{config.path}: [web] cli_config = {f'{path}'[:200]}: {wrong}: name another file"
        yield Finding(CONFIGURATION, "fault", text)


def admin(config: Config) -> Iterator[Finding]:
    """The name of the first user is one; nothing is said if so."""
    from backend.web import accounts  # noqa: PLC0415  (only where its packages are)

    if not accounts.is_name(config.web_admin_user):
        shown = config.web_admin_user[:100]
        text = f"{config.path}: [web] admin_user = {shown}: {accounts.RULE}"
        yield Finding(CONFIGURATION, "fault", text)


def database(config: Config) -> Finding:
    """The frontend's database answers; a file of SQLite is there, or can be made."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from backend.web.store import database_url, make_engine  # noqa: PLC0415

    try:
        engine = make_engine(database_url(config))
    except ConfigError as error:
        return Finding(CONFIGURATION, "fault", f"{config.path}: {error}")
    try:
        if engine.dialect.name == "sqlite":
            return _sqlite(config, engine.url.database or "")
        with engine.connect():
            return Finding("database", "ok", f"{engine.dialect.name} answers")
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        text = f"{config.path}: [web] database_url: {reason}: correct it, or start the server"
        return Finding("database", "fault", text)
    finally:
        engine.dispose()


def _sqlite(config: Config, name: str) -> Finding:
    try:
        wrong = _unfit(config, Path(name))
    except OSError as error:
        wrong = f"{error.strerror}: name another file, or correct statedir"
    if wrong:
        text = f"{config.path}: [web] database_url: {name or 'no file'}: {wrong}"
        return Finding(CONFIGURATION, "fault", text)
    return Finding("database", "ok", f"SQLite, {name}")


def _unfit(config: Config, path: Path) -> str:
    """Why that can be no database, if so. Raises OSError."""
    if not path.is_absolute():
        return "write sqlite:////ABSOLUTE/PATH"
    if not path.exists():
        made = path.parent == config.statedir or path.parent.is_dir()
        return "" if made else f"{path.parent} is no directory: make it"
    if not path.is_file():
        return "it is no file: name another"
    with path.open("rb") as file:
        known = file.read(16) in (b"", b"SQLite format 3\0")
    return "" if known else "it is no SQLite database: name another file"
