"""Metrics in Prometheus' text format."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from fastapi import APIRouter
from sqlalchemy import func, select
from starlette.responses import Response

from backend.farmview import View
from backend.web import samples
from backend.web.models import Build
from backend.web.pages import disks
from backend.web.request import Ctx
from backend.web.store import Context

router = APIRouter()
#: Labels and value of one sample.
Sample = tuple[dict[str, str], float]
#: Name, type, help, samples.
Metric = tuple[str, str, str, list[Sample]]


@router.get("/metrics")
def metrics(ctx: Ctx) -> Response:
    """For Prometheus."""
    view = ctx.look()
    parts = (_tasks(ctx, view), _farm(view), _repositories(view), _halts(view), _disks(ctx))
    text = exposition(metric for part in parts for metric in part)
    kind = "text/plain; version=0.0.4; charset=utf-8"
    return Response(text, media_type=kind, headers={"Cache-Control": "no-store"})


def exposition(found: Iterable[Metric]) -> str:
    """What Prometheus reads."""
    out = []
    for name, kind, words, lines in found:
        out += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
        for labels, value in lines:
            inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
            out.append(f"{name}{{{inner}}} {value:.15g}" if inner else f"{name} {value:.15g}")
    return "\n".join(out) + "\n"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _gauge(name: str, words: str, value: float) -> Metric:
    return f"copr_{name}", "gauge", words, [({}, value)]


def _by_state(name: str, words: str, **values: float) -> Metric:
    found: list[Sample] = [({"state": state}, value) for state, value in values.items()]
    return f"copr_{name}", "gauge", words, found


def _counter(name: str, words: str, found: list[Sample]) -> Metric:
    return f"copr_{name}_total", "counter", words, found


def _tasks(ctx: Context, view: View) -> Iterator[Metric]:
    with ctx.reading() as session:
        counts = samples.counts(session)
        builds = session.scalar(select(func.max(Build.id))) or 0
    ended: list[Sample] = [
        ({"state": state}, ctx.tally.ended[state]) for state in ("succeeded", "failed")
    ]
    kinds: list[Sample] = [({"kind": kind}, n) for kind, n in sorted(ctx.tally.kinds.items())]
    yield _by_state(
        "tasks",
        "Unfinished tasks by state",
        running=counts.running,
        waiting=counts.waiting,
        queued=view.queued,
    )
    yield _counter("builds", "Builds submitted ever", [({}, builds)])
    yield _counter("tasks_ended", "Reports of ended tasks since the start", ended)
    yield _counter("tasks_failed", "Failed tasks by the kind of failure", kinds)


def _farm(view: View) -> Iterator[Metric]:
    yield _gauge("up", "1 while Redis answers", not view.problem)
    idle = len(view.workers) - view.busy
    yield _by_state("workers", "Workers by what they do", busy=view.busy, idle=idle)
    hosts = Counter((str(host["group"]), str(host["state"])) for host in view.hosts)
    by_state: list[Sample] = [
        ({"group": group, "state": state}, number)
        for (group, state), number in sorted(hosts.items())
    ]
    yield "copr_hosts", "gauge", "Build hosts by group and state", by_state
    yield _gauge("reports_undelivered", "Reports in the outbox", view.reports)
    looked = _number(view.grabber.get("pass"))
    if looked is not None:
        age = max(0.0, time.time() - looked)
        yield _gauge("grabber_pass_age_seconds", "Since the job grabber looked", age)


def _repositories(view: View) -> Iterator[Metric]:
    board = view.publishing
    words = "Those who publish a repository, or wait for it"
    yield _by_state("publishers", words, publishing=board.publishing, waiting=board.waiting)
    words = "Repositories whose last publish has failed"
    yield _gauge("repositories_failing", words, len(board.failures))


def _halts(view: View) -> Iterator[Metric]:
    yield _gauge("drained", "1 while nothing new is started", bool(view.drained))
    yield _gauge("disk_full", "1 while a disk is too full to start anything", bool(view.full))


def _disks(ctx: Context) -> Iterator[Metric]:
    space = disks(ctx)
    for key, words in (("free", "Free bytes"), ("total", "Bytes in all")):
        found: list[Sample] = [({"of": disk["name"]}, disk[key]) for disk in space]
        yield f"copr_disk_{key}_bytes", "gauge", f"{words} of the disk", found


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
