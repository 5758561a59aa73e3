"""The plots of the front page: how much ran, waited and ended, over a time that fits the farm."""

from dataclasses import dataclass

from markupsafe import Markup
from sqlalchemy.orm import Session

from backend.web import plots, samples
from backend.web.store import Context

#: Seconds that the plots show, and seconds of one bar. A young farm gets a short time: in six
#: hours its first builds would be a hair at the edge.
SPANS = ((1800, 60), (7200, 120), (21600, 300))


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Two plots, and the words beside them."""

    queue: Markup
    throughput: Markup
    succeeded: int
    failed: int
    most: int
    ago: str


def span_for(age: int) -> tuple[int, int]:
    """Seconds to show and seconds of a bar, for a farm that began to work `age` seconds ago."""
    return next((span for span in SPANS if age <= span[0]), SPANS[-1])


def of(ctx: Context, session: Session, end: int, counts: samples.Counts) -> Activity | None:
    """What happened until `end`; None if nothing ever did."""
    fresh = ctx.tally.unsampled()
    first = samples.first(session)
    if first is None and not any((counts.running, counts.waiting, *fresh)):
        return None
    span, bar = span_for(end - (end if first is None else first))
    start = end - span
    found = samples.lately(session, start)
    ran = samples.at_least(counts.running, fresh)
    running, waiting = (
        until_now([(float(s.at), float(getattr(s, name))) for s in found], end, value)
        for name, value in (("running", ran), ("waiting", counts.waiting))
    )
    # What ended in the second of `end` belongs to the last bar, not beyond it.
    good, bad = (
        plots.bars(
            [*((s.at, getattr(s, name)) for s in found), (end, last)], start, end + 1, span // bar
        )
        for name, last in zip(("succeeded", "failed"), fresh, strict=True)
    )
    return Activity(
        queue=plots.queue(running, waiting, start, end),
        throughput=plots.throughput(good, bad),
        succeeded=int(sum(good)),
        failed=int(sum(bad)),
        most=int(max(value for _, value in (*running, *waiting))),
        ago=_words(span),
    )


def until_now(points: list[tuple[float, float]], end: int, value: int) -> list[tuple[float, float]]:
    """Samples and what is seen now, each from when it began to be so: a sample tells of the
    minute before it."""
    found: list[tuple[float, float]] = []
    before = float("-inf")
    for at, seen in [*points, (float(end), float(value))]:
        found.append((max(before, at - samples.EVERY), seen))
        before = at
    return found


def _words(span: int) -> str:
    return f"{span // 3600} h" if span >= 3600 else f"{span // 60} min"
