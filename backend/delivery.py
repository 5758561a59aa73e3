"""Sending finished builds to the frontend: in batches, and each of them once.

Terminal updates are not idempotent: a report whose sending was interrupted is
sent again only if the frontend still calls its task unfinished.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.constants import FINISHED, Status
from backend.exceptions import FrontendBroken, FrontendError, FrontendRefused, FrontendSilent
from backend.frontend import Frontend
from backend.queues import Report

#: Reports in one request, at most.
BATCH = 100
#: So many in a batch may be met by silence, each until the request's time is over.
SILENT = 2
#: States of API v3 in which nothing more is expected.
ENDED = frozenset(status.label for status in FINISHED)
_LISTS = {"results", "built_packages"}


@dataclass
class Outcome:
    """What became of a batch. `stuck`: the frontend breaks over these alone, and why; `error`: why
    the rest is still to be sent."""

    delivered: list[Report] = field(default_factory=list)
    refused: list[tuple[Report, str]] = field(default_factory=list)
    stuck: list[tuple[Report, str]] = field(default_factory=list)
    error: str = ""
    #: It took an update: those over which it breaks are to blame for that themselves.
    works: bool = False


def reduced(build: Mapping[str, Any], why: str) -> dict[str, Any] | None:
    """What to send instead of a report over which the frontend breaks again and again.

    First without the lists of packages, which it allows to leave out; then a plain failure;
    then nothing (None).
    """
    if _LISTS & build.keys():
        return {key: value for key, value in build.items() if key not in _LISTS}
    if build.get("status") == Status.FAILED:
        return None
    failure = f"the frontend cannot take the result: {why}"
    return {**build, "status": int(Status.FAILED), "failure": failure}


def patience(build: Mapping[str, Any], limit: float) -> float:
    """How long, in seconds, a report is sent as it is before `reduced` is, if the task is to be
    failed after `limit`."""
    if _LISTS & build.keys():
        return limit / 2
    return 2 * limit if build.get("status") == Status.FAILED else limit


def choose(reports: Iterable[Report], without: Collection[str] = ()) -> list[Report]:
    """The next batch, oldest first; one report for each build."""
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
    strange: Collection[str] = (),
) -> Outcome:
    """Send the batch; `doubtful` task ids may have been sent before, `strange` ones (of which the
    frontend has not spoken yet) by a Redis that has forgotten it. Raises nothing."""
    outcome = Outcome()
    try:
        rest = batch
        if doubtful or strange:
            rest = _still_wanted(frontend, rest, {*doubtful, *strange}, outcome, strange)
        if len(rest) > 1:
            rest = _together(frontend, rest, outcome)
        _one_by_one(frontend, rest, outcome)
    except (FrontendError, FrontendRefused) as error:
        outcome.error = str(error)
    return outcome


def _still_wanted(
    frontend: Frontend,
    batch: list[Report],
    doubtful: Collection[str],
    outcome: Outcome,
    strange: Collection[str] = (),
) -> list[Report]:
    unfinished = {task.task_id for task in frontend.pending()[0]}
    done = [r for r in batch if r.task_id in doubtful and r.task_id not in unfinished]
    if done:
        # Canceled a moment ago: that takes a task from the list, too, and is no end yet.
        canceled = set(frontend.cancel_requests())
        done = [r for r in done if r.task_id not in canceled or _ended(frontend, r, strange)]
    outcome.delivered += done
    return [report for report in batch if report not in done]


def _ended(frontend: Frontend, report: Report, strange: Collection[str]) -> bool:
    """Whether the frontend has the end of a canceled task; if it does not tell, it has that of one
    whose report may have reached it."""
    state = frontend.chroot_state(report.task_id)
    return state in ENDED if state else report.task_id not in strange


def _together(frontend: Frontend, reports: list[Report], outcome: Outcome) -> list[Report]:
    """Returns those that are to go one by one."""
    try:
        frontend.update([report.build for report in reports])
    except (FrontendRefused, FrontendBroken, FrontendSilent):
        # It broke over the batch: what it had taken over before that, nobody knows.
        everyone = {report.task_id for report in reports}
        return _still_wanted(frontend, reports, everyone, outcome)
    outcome.delivered += reports
    outcome.works = True
    return []


def _one_by_one(frontend: Frontend, reports: list[Report], outcome: Outcome) -> None:
    silent = 0
    for report in reports:
        try:
            frontend.update([report.build])
        except FrontendRefused as error:
            outcome.refused.append((report, str(error)))
        except FrontendBroken as error:
            outcome.stuck.append((report, str(error)))
        except FrontendSilent as error:
            if not _still_wanted(frontend, [report], {report.task_id}, outcome):
                continue  # only the answer got lost
            outcome.stuck.append((report, str(error)))
            silent += 1
            if silent == SILENT:
                raise  # to be silent over each of them takes long
        else:
            outcome.delivered.append(report)
            outcome.works = True
