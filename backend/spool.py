"""What the webhook has still to do: candidates and messages, in a small database in statedir."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Builds whose message was delivered (or given up) are remembered, so that no second one follows.
REMEMBERED = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    build INTEGER PRIMARY KEY,      -- one row for each build that a report was about
    noted INTEGER NOT NULL,         -- how many reports so far
    state TEXT NOT NULL,            -- empty: the frontend is still to be asked
    body BLOB NOT NULL,
    tries INTEGER NOT NULL,
    since REAL NOT NULL,
    due REAL NOT NULL               -- 0: delivered or given up
)"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate (`state` empty) or message."""

    build: int
    noted: int
    state: str
    body: bytes
    tries: int
    since: float


class Spool:
    """The database. Each thread needs one of its own; raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")  # a kill loses nothing that was noted
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_SCHEMA)
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def note(self, builds: Iterable[int], now: float) -> None:
        """These builds may be finished."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            self._db.executemany(
                "INSERT INTO message VALUES (?, 1, '', '', 0, ?, ?) ON CONFLICT (build)"
                " DO UPDATE SET noted = noted + 1, due = CASE WHEN state = '' THEN ?3 ELSE due END",
                [(build, now, now) for build in builds],
            )

    def next(self) -> tuple[Row | None, float]:
        """What is due first, and when; None and infinity when nothing is."""
        found = self._db.execute(
            "SELECT build, noted, state, body, tries, since, due FROM message WHERE due > 0"
            " ORDER BY due, build LIMIT 1"
        ).fetchone()
        if found is None:
            return None, float("inf")
        build, noted, state, body, tries, since, due = found
        row = Row(build=build, noted=noted, state=state, body=body, tries=tries, since=since)
        return row, due

    def compose(self, row: Row, state: str, body: bytes, now: float) -> None:
        """The build is finished: this is to be sent."""
        self._db.execute(
            "UPDATE message SET state = ?, body = ?, tries = 0, since = ?, due = ? WHERE build = ?",
            (state, body, now, now, row.build),
        )

    def later(self, row: Row, due: float) -> None:
        """Try again at `due`, unless a report has come meanwhile: then at once."""
        self._db.execute(
            "UPDATE message SET tries = tries + 1, due = CASE WHEN noted = ?2 OR state != ''"
            " THEN ?1 ELSE due END WHERE build = ?3",
            (due, row.noted, row.build),
        )

    def postpone(self, row: Row, due: float) -> None:
        """Try at `due`; this was no try."""
        self._db.execute("UPDATE message SET due = ? WHERE build = ?", (due, row.build))

    def drop(self, row: Row) -> None:
        """Forget a candidate, unless another report has come meanwhile."""
        where = (row.build, row.noted)
        self._db.execute("DELETE FROM message WHERE build = ? AND noted = ?", where)

    def done(self, row: Row) -> None:
        """Delivered or given up: remember that, and not too many of them."""
        self._db.execute("UPDATE message SET due = 0, body = '' WHERE build = ?", (row.build,))
        self._db.execute(
            "DELETE FROM message WHERE due = 0 AND build <= (SELECT build FROM message"
            " WHERE due = 0 ORDER BY build DESC LIMIT 1 OFFSET ?)",
            (REMEMBERED,),
        )
