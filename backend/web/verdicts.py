"""Classes of failures with their key lines: taken from reports, kept, told."""

from collections.abc import Collection, Mapping
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, insert, select
from sqlalchemy.orm import Session

from backend import triage
from backend.constants import SRPM_CHROOT, Status
from backend.web.models import Build, BuildChroot, Verdict

_TABLE = cast(Table, Verdict.__table__)
#: Build id and chroot (empty: the source task) → `{"kind": …, "lines": […]}`.
Verdicts = Mapping[tuple[int, str], dict[str, Any]]


def remember(connection: Connection, build_id: int, report: Mapping[str, Any]) -> None:
    """Keep what a report says of a failure; nothing of any other report."""
    if report.get("status") != Status.FAILED:
        return
    chroot = str(report.get("chroot") or "")
    name = "" if chroot == SRPM_CHROOT else chroot[:200]
    found = _read(report.get("triage")) or _guess(str(report.get("failure") or ""))
    here = (_TABLE.c.build_id == build_id, _TABLE.c.chroot == name)
    connection.execute(delete(_TABLE).where(*here))
    if found is not None:
        connection.execute(insert(_TABLE).values(build_id=build_id, chroot=name, **found))


def of(session: Session, builds: Collection[int]) -> Verdicts:
    """What is known of the failures of these builds."""
    if not builds:
        return {}
    rows = session.execute(select(_TABLE).where(_TABLE.c.build_id.in_(builds)))
    return {(row.build_id, row.chroot): {"kind": row.kind, "lines": row.lines} for row in rows}


def of_task(verdicts: Verdicts, build: Build, chroot: BuildChroot | None) -> dict[str, Any] | None:
    """Of one task: None unless it has failed or was canceled."""
    status = build.source_status if chroot is None else chroot.status
    if status == Status.CANCELED:
        return {"kind": str(triage.Kind.CANCELED), "lines": []}
    if status != Status.FAILED:
        return None
    return verdicts.get((build.id, chroot.name if chroot else ""))


def of_build(verdicts: Verdicts, build: Build) -> dict[str, Any] | None:
    """Of the first task of a build that has one."""
    tasks = [of_task(verdicts, build, chroot) for chroot in (None, *build.chroots)]
    return next((found for found in tasks if found), None)


def _guess(failure: str) -> dict[str, Any] | None:
    kind = triage.of_message(failure)
    return None if kind is None else {"kind": str(kind), "lines": []}


def _read(record: object) -> dict[str, Any] | None:
    """A reported verdict, if it is one; the backend is trusted, but not to be bug-free."""
    if not isinstance(record, Mapping) or record.get("kind") not in list(triage.Kind):
        return None
    given = record.get("lines")
    lines = [line for line in given if _is_line(line)] if isinstance(given, list) else []
    lines = [line | {"text": line["text"][: triage.MAX_TEXT]} for line in lines]
    return {"kind": str(record["kind"]), "lines": lines[: triage.MAX_LINES]}


def _is_line(line: object) -> bool:
    return (
        isinstance(line, dict)
        and line.keys() == {"line", "offset", "text"}
        and type(line["line"]) is type(line["offset"]) is int
        and isinstance(line["text"], str)
    )
