"""Sending finished builds to the frontend: in batches, and each of them once.

Terminal updates are not idempotent (PROTOCOL E.3): a report whose sending was interrupted is
sent again only if the frontend still calls its task unfinished.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.constants import Status
from backend.exceptions import FrontendBroken, FrontendError, FrontendRefused
from backend.frontend import Frontend
from backend.queues import Report

#: Reports in one request, at most.
BATCH = 100


@dataclass
class Outcome:
    """What became of a batch. `stuck`: the frontend breaks over these alone; `error`: why the
    rest is still to be sent."""

    delivered: list[Report] = field(default_factory=list)
    refused: list[tuple[Report, str]] = field(default_factory=list)
    stuck: list[tuple[Report, str]] = field(default_factory=list)
    error: str = ""
    #: Those of `stuck` over which an update itself broke.
    breaks: set[str] = field(default_factory=set)


def reduced(build: Mapping[str, Any], why: str) -> dict[str, Any] | None:
    """What to send instead of a report over which the frontend breaks again and again.

    First without the lists of packages, which it allows to leave out; then a plain failure;
    then nothing (None).
    """
    lists = {"results", "built_packages"}
    if lists & build.keys():
        return {key: value for key, value in build.items() if key not in lists}
    if build.get("status") == Status.FAILED:
        return None
    failure = f"the frontend cannot take the result: {why}"
    return {**build, "status": int(Status.FAILED), "failure": failure}


def choose(reports: Iterable[Report], without: Collection[str] = ()) -> list[Report]:
    """The next batch, oldest first; one report for each build (PROTOCOL A.9)."""
    chosen: dict[object, Report] = {}
    for report in reports:
        if report.task_id not in without:
            chosen.setdefault(report.build.get("id"), report)
        if len(chosen) == BATCH:
            break
    return list(chosen.values())


def send(
    frontend: Frontend,
    batch: list[Report],
    doubtful: Collection[str],
    prepare: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Send the batch; `doubtful` task ids may have been sent before. Raises nothing.

    `prepare` is called with each task that failed without a build of its own, and raises
    FrontendError if that report cannot be sent yet.
    """
    outcome = Outcome()
    try:
        rest = _prepared(batch, prepare, outcome)
        if doubtful:
            rest = _still_wanted(frontend, rest, doubtful, outcome)
        if rest and not _together(frontend, rest, outcome):
            # It broke over the batch: what it had taken over before that, nobody knows.
            everyone = {report.task_id for report in rest}
            for report in _still_wanted(frontend, rest, everyone, outcome):
                _alone(frontend, report, outcome)
    except (FrontendError, FrontendRefused) as error:
        outcome.error = str(error)
    return outcome


def _prepared(
    batch: list[Report], prepare: Callable[[str], None], outcome: Outcome
) -> list[Report]:
    ready = []
    for report in batch:
        if report.build.get("status") == Status.FAILED and "started_on" not in report.build:
            try:
                prepare(report.task_id)
            except FrontendError as error:
                outcome.stuck.append((report, str(error)))
                continue
        ready.append(report)
    return ready


def _still_wanted(
    frontend: Frontend, batch: list[Report], doubtful: Collection[str], outcome: Outcome
) -> list[Report]:
    unfinished = {task.task_id for task in frontend.pending()[0]}
    done = [r for r in batch if r.task_id in doubtful and r.task_id not in unfinished]
    outcome.delivered += done
    return [report for report in batch if report not in done]


def _together(frontend: Frontend, reports: list[Report], outcome: Outcome) -> bool:
    try:
        frontend.update([report.build for report in reports])
    except (FrontendRefused, FrontendBroken) as error:
        if len(reports) > 1:
            return False
        _blame(error, reports[0], outcome)
    else:
        outcome.delivered += reports
    return True


def _alone(frontend: Frontend, report: Report, outcome: Outcome) -> None:
    try:
        frontend.update([report.build])
        outcome.delivered.append(report)
    except (FrontendRefused, FrontendBroken) as error:
        _blame(error, report, outcome)


def _blame(error: Exception, report: Report, outcome: Outcome) -> None:
    if isinstance(error, FrontendRefused):
        outcome.refused.append((report, str(error)))
    else:
        outcome.stuck.append((report, str(error)))
        outcome.breaks.add(report.task_id)
