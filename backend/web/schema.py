"""Brings a database to today's tables: made anew, or moved step by step by alembic."""

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from backend.exceptions import CoprBackendError
from backend.web.models import Base, User

#: The last step in `migrations/versions/`; a test compares it with the files.
HEAD = "0006"
#: What a database has that was made before there were steps.
_FIRST = "0001"
#: Where alembic keeps the step.
TABLE = "schema_version"
_HERE = Path(__file__).parent / "migrations"


def prepare(engine: Engine) -> None:
    """Make or move the tables, all in one transaction; two queries when there is nothing to do.

    Raises CoprBackendError when the database belongs to a newer version of this program.
    """
    with engine.execution_options(copr_write=True).begin() as connection:
        found = version(connection)
        if found == HEAD:
            return
        if not found and not inspect(connection).has_table(User.__tablename__):
            Base.metadata.create_all(connection)
            _mark(connection, HEAD)
            return
        if not found:
            _mark(connection, _FIRST)
        upgrade(connection, HEAD)


def version(connection: Connection) -> str:
    """The step that the database is at; empty if it has none."""
    if not inspect(connection).has_table(TABLE):
        return ""
    return str(connection.execute(text(f"SELECT version_num FROM {TABLE}")).scalar() or "")  # noqa: S608


def _mark(connection: Connection, step: str) -> None:
    connection.execute(
        text(
            f"CREATE TABLE {TABLE} (version_num VARCHAR(32) NOT NULL,"
            f" CONSTRAINT {TABLE}_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(text(f"INSERT INTO {TABLE} VALUES (:step)"), {"step": step})  # noqa: S608


def upgrade(connection: Connection, step: str) -> None:
    """Take all steps up to `step`, in the transaction of `connection`."""
    from alembic import command  # noqa: PLC0415  (hardly ever needed, and not small)
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, step)
    except CommandError as error:
        raise CoprBackendError(
            f"the frontend's database cannot be brought to step {step}: {error}: was it made by a"
            " newer version? Install that one, or restore a backup"
        ) from error
