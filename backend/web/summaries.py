"""Builds in one line each, for tables of pages."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import Session

from backend.constants import Status
from backend.web import rows, states, verdicts
from backend.web.models import Build
from backend.web.shapes import ended_on, first_failure, open_tasks
from backend.web.store import Context

Summary = dict[str, Any]
_BUSY = (Status.STARTING, Status.RUNNING)


def of(ctx: Context, session: Session, ids: Iterable[int]) -> list[Summary]:
    """Summaries of these builds, in this order; those that are gone are left out."""
    wanted = list(ids)
    found = rows.builds(session.connection(), wanted) if wanted else {}
    failed = [number for number, build in found.items() if first_failure(build)]
    kinds = verdicts.of(session, failed)
    items = [of_build(found[number], kinds) for number in wanted if number in found]
    explain(ctx, items)
    return items


def of_build(build: Build, kinds: verdicts.Verdicts) -> Summary:
    """One build; `waiting` is filled in by `explain`."""
    verdict = verdicts.of_build(kinds, build)
    starts = [build.started_on, *(chroot.started_on for chroot in build.chroots)]
    started = min((moment for moment in starts if moment), default=None)
    ended = ended_on(build)
    return {
        "id": build.id,
        "state": states.build_status(build).label,
        "owner": build.project.owner,
        "project": build.project.name,
        "package": build.pkg_name or build.source.get("pkg") or _name(build),
        "version": build.pkg_version or "",
        "submitted_on": build.submitted_on,
        "submitter": build.submitter,
        "started_on": started,
        "ended_on": ended,
        "took": _took(build, started, ended),
        "failure": first_failure(build),
        "kind": verdict["kind"] if verdict else None,
        "chroots": [
            {"name": c.name, "state": Status(c.status).label, "result_dir": c.result_dir}
            for c in build.chroots
        ],
        "open": open_tasks(build),
        "waiting": "",
        "eta": None,
    }


def _took(build: Build, started: int | None, ended: int | None) -> int | None:
    """Seconds from the first start to the end, or until now while it runs."""
    if ended is None and states.build_status(build) in _BUSY:
        ended = states.now()
    return max(0, ended - started) if started and ended else None


def _name(build: Build) -> str:
    return str(build.source.get("url", "")).rpartition("/")[2][:200]


def explain(ctx: Context, items: list[Summary]) -> None:
    """Say of builds that only wait why the first task of each does."""
    pending = [item for item in items if item["state"] == Status.PENDING.label]
    if not pending:
        return
    places = ctx.explain([task for item in pending for task in item["open"]])
    for item in pending:
        found = [places[task] for task in item["open"] if task in places]
        place = next((place for place in found if place.place == "waiting"), None)
        if place is not None:
            item["waiting"], item["eta"] = place.text, place.eta
