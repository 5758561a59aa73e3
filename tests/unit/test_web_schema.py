"""The tables of the frontend: made anew, or moved from what an older version has left."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from backend.exceptions import CoprBackendError
from backend.web import schema
from backend.web.models import Base
from backend.web.store import make_engine

OLD_ROWS = (
    "INSERT INTO user VALUES (1, 'admin', 'login', 'hash')",
    "INSERT INTO project VALUES (7, 'admin', 'hello', 'words', '{\"devel_mode\": false}',"
    " '[\"fedora-41-x86_64\"]', 100, NULL)",
    "INSERT INTO package VALUES (3, 7, 'hello')",
    "INSERT INTO build VALUES (42, 7, 'hello', 'admin', 1, '{\"url\": \"http://x/h.src.rpm\"}', 1,"
    " 0, 0, 18000, 0, 'default', '[]', 'hello', '1-1', 'http://x/h.src.rpm', '00000042', 1, 2, 3,"
    " NULL)",
    "INSERT INTO build_chroot VALUES (42, 'fedora-41-x86_64', 1, 1, 2, '00000042-hello', NULL,"
    " '[]')",
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = make_engine(f"sqlite:///{tmp_path / 'x.sqlite'}")
    yield made
    made.dispose()


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        options = {"version_table": "schema_version"}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, Base.metadata))


def old_database(engine: Engine) -> None:
    """As it was before there were steps."""
    with engine.execution_options(copr_write=True).begin() as connection:
        schema.upgrade(connection, "0001")
        connection.execute(text("DROP TABLE schema_version"))
        for statement in OLD_ROWS:
            connection.exec_driver_sql(statement)


def test_a_new_database_has_the_tables_of_the_models(engine: Engine) -> None:
    schema.prepare(engine)
    assert differences(engine) == []
    schema.prepare(engine)
    with engine.connect() as connection:
        assert schema.version(connection) == schema.HEAD


def test_an_old_database_is_moved_and_keeps_its_rows(engine: Engine) -> None:
    old_database(engine)
    schema.prepare(engine)
    assert differences(engine) == []
    with engine.connect() as connection:
        assert schema.version(connection) == schema.HEAD
        row = connection.execute(text("SELECT * FROM build WHERE id = 42")).one()
        assert (row.pkg_name, row.batch_id, row.options) == ("hello", None, "{}")
        assert row.final == 1
        assert connection.execute(text("SELECT expires_on FROM user")).scalar() is None


def test_the_steps_end_at_the_head_that_the_code_names() -> None:
    scripts = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
    assert scripts.get_heads() == [schema.HEAD]


def test_a_failed_step_leaves_the_database_as_it_was(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_database(engine)
    monkeypatch.setattr(schema, "HEAD", "9999")
    with pytest.raises(CoprBackendError, match="newer version"):
        schema.prepare(engine)
    with engine.connect() as connection:
        assert schema.version(connection) == ""


def test_a_database_of_a_newer_version_is_refused(engine: Engine) -> None:
    schema.prepare(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version_num = '9999'"))
    with pytest.raises(CoprBackendError, match="newer version"):
        schema.prepare(engine)
