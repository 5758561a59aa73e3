"""The frontend's database and its files as one archive, for either kind of database.

A gzipped tar: `header.json`, `rows.jsonl` (one `[table, row]` a line, parents first), and the
directories of FILES. Restoring into another kind of database moves to it. Published results are
no part of it.
"""

import gzip
import io
import json
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, Integer, MetaData, Table, func, insert, select, text

from backend.exceptions import CoprBackendError
from backend.web import schema
from backend.web.models import Base

FORMAT = 1
#: Directories of statedir that hold what builds and pages need beside the database.
FILES = ("uploads", "comps")
_ROWS = 1000


def dump(engine: Engine, statedir: Path, out: IO[bytes]) -> int:
    """Write the archive, one consistent view of a database that may be in use; returns how many
    rows it holds."""
    level = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with (
        tempfile.TemporaryFile(dir=statedir) as rows,
        gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        with engine.execution_options(**level).connect() as connection:
            header, count = _rows(connection, rows)
        data = json.dumps(header).encode()
        _add(archive, "header.json", io.BytesIO(data), len(data))
        size = rows.tell()
        rows.seek(0)
        _add(archive, "rows.jsonl", rows, size)
        for name in FILES:
            if (statedir / name).is_dir():
                archive.add(statedir / name, arcname=name)
    return count


def _rows(connection: Connection, out: IO[bytes]) -> tuple[dict[str, Any], int]:
    step, count, last = schema.version(connection), 0, {}
    for table in Base.metadata.sorted_tables:
        for row in connection.execute(select(table).order_by(*table.primary_key.columns)):
            out.write(json.dumps([table.name, row._asdict()]).encode() + b"\n")
            count += 1
        if _numbered(table):
            last[table.name] = _last(connection, table)
    made = int(time.time())
    return {"format": FORMAT, "schema": step, "made": made, "last": last, "rows": count}, count


def _add(archive: tarfile.TarFile, name: str, data: IO[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
    archive.addfile(info, data)


def _numbered(table: Table) -> bool:
    """True for a table whose rows get their ids from the database."""
    keys = list(table.primary_key.columns)
    return len(keys) == 1 and keys[0].name == "id" and isinstance(keys[0].type, Integer)


def _last(connection: Connection, table: Table) -> int:
    """The largest id that was ever given away: it names directories, and is not used again."""
    largest = connection.execute(select(func.max(table.c.id))).scalar() or 0
    if connection.dialect.name == "sqlite":
        known = "SELECT seq FROM sqlite_sequence WHERE name = :name"
        given = connection.execute(text(known), {"name": table.name}).scalar()
    else:
        given = connection.execute(text(f'SELECT last_value FROM "{table.name}_id_seq"')).scalar()  # noqa: S608
    return max(int(largest), int(given or 0))


def restore(engine: Engine, statedir: Path, archive: IO[bytes], *, force: bool = False) -> int:
    """Put an archive in place of an empty database (with `force`: of any), in one transaction;
    returns how many rows it held. Raises CoprBackendError."""
    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as tar:
            header = json.loads(_member(tar, "header.json").read())
            if header.get("format") != FORMAT:
                raise CoprBackendError("this archive was made by another version of copr-backend")
            with engine.execution_options(copr_write=True).begin() as connection:
                _clear(connection, force=force)
                schema.upgrade(connection, header["schema"])
                count = _load(connection, _member(tar, "rows.jsonl"))
                if count != header["rows"]:
                    raise CoprBackendError("the archive is cut off: use another one")
                _number_on(connection, header["last"])
                schema.upgrade(connection, schema.HEAD)
                _files(tar, statedir)
    except (
        tarfile.TarError,
        EOFError,
        KeyError,
        ValueError,
        zlib.error,
        gzip.BadGzipFile,
    ) as error:
        raise CoprBackendError(
            f"this is no archive of copr_be.py backup, or a broken one: {error}"
        ) from error
    return count


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    found = tar.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found


def _clear(connection: Connection, *, force: bool) -> None:
    found = MetaData()
    found.reflect(connection)
    ours = [name for name in found.tables if name in {*Base.metadata.tables, schema.TABLE}]
    users = found.tables.get("project")
    if users is not None and not force and connection.execute(select(users).limit(1)).first():
        raise CoprBackendError(
            "the database holds projects already: --force gives them up for the archive's"
        )
    # Builds refer to projects, and so on: children first.
    doomed = [found.tables[name] for name in ours]
    found.drop_all(connection, tables=doomed)


def _load(connection: Connection, rows: IO[bytes]) -> int:
    tables = MetaData()
    tables.reflect(connection)
    count = 0
    for name, some in _batches(rows):
        connection.execute(insert(tables.tables[name]), some)
        count += len(some)
    return count


def _batches(rows: IO[bytes]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Rows of one table, some at a time."""
    table = ""
    some: list[dict[str, Any]] = []
    for line in rows:
        name, row = json.loads(line)
        if some and (name != table or len(some) >= _ROWS):
            yield table, some
            some = []
        table = name
        some.append(row)
    if some:
        yield table, some


def _number_on(connection: Connection, last: dict[str, int]) -> None:
    for name, number in last.items():
        if not number:
            continue
        if connection.dialect.name == "sqlite":
            values = {"name": name, "number": number}
            what = "UPDATE sqlite_sequence SET seq = :number WHERE name = :name"
            if not connection.execute(text(what), values).rowcount:
                new = "INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)"
                connection.execute(text(new), values)
        else:
            connection.execute(
                text("SELECT setval(CAST(:sequence AS regclass), :number)"),
                {"sequence": f'"{name}_id_seq"', "number": number},
            )


def _files(tar: tarfile.TarFile, statedir: Path) -> None:
    """Plain files below FILES, and nothing else: `filter="data"` came only with Python 3.11.4."""
    for member in tar.getmembers():
        parts = member.name.split("/")
        if parts[0] not in FILES or not member.isfile():
            continue
        if {"", ".", ".."} & {*parts}:
            raise KeyError(member.name)
        target = statedir.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _member(tar, member.name) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
        target.chmod(member.mode & 0o755 | 0o600)
