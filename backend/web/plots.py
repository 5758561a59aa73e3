"""Plots as SVG, drawn here: no script, no library, readable in both colour schemes."""

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 600, 90
_BOTTOM = HEIGHT - 4


def steps(points: Sequence[tuple[float, float]], start: float, end: float, top: float) -> str:
    """The path of an area whose height changes at each (time, value) and stays between."""
    if end <= start or not points:
        return ""
    parts: list[str] = []
    before = 0.0
    for at, value in points:
        x = max(0.0, min(1.0, (at - start) / (end - start))) * WIDTH
        y = _BOTTOM - (value / top if top else 0) * (_BOTTOM - 6)
        if not parts:
            parts.append(f"M{x:.1f} {_BOTTOM}V{y:.1f}")
        elif y != before:
            parts.append(f"H{x:.1f}V{y:.1f}")
        before = y
    parts.append(f"H{WIDTH}V{_BOTTOM}Z")
    return "".join(parts)


def bars(
    points: Sequence[tuple[float, float]], start: float, end: float, count: int
) -> list[float]:
    """Sums of the values in `count` equal parts of the time."""
    found = [0.0] * count
    for at, value in points:
        index = int((at - start) / (end - start) * count)
        if 0 <= index < count:
            found[index] += value
    return found


def queue(
    running: Sequence[tuple[float, float]],
    waiting: Sequence[tuple[float, float]],
    start: float,
    end: float,
) -> Markup:
    """Waiting tasks behind running ones."""
    top = max([value for _, value in (*running, *waiting)], default=0) or 1
    label = f"Tasks over time: at most {top:.0f}"
    return _svg(
        Markup('<path class="soft" d="{}"/><path class="run" d="{}"/>').format(
            steps(waiting, start, end, top), steps(running, start, end, top)
        ),
        label,
    )


def throughput(good: Sequence[float], bad: Sequence[float]) -> Markup:
    """Stacked bars of what succeeded and what failed."""
    top = max([a + b for a, b in zip(good, bad, strict=True)], default=0) or 1
    wide = WIDTH / max(1, len(good))
    parts = []
    for index, (fine, poor) in enumerate(zip(good, bad, strict=True)):
        high, low = (value / top * (_BOTTOM - 6) for value in (fine, poor))
        for name, y, height in (
            ("good", _BOTTOM - high, high),
            ("bad", _BOTTOM - high - low, low),
        ):
            if height:
                parts.append(
                    f'<rect class="{name}" x="{index * wide:.1f}" y="{y:.1f}"'
                    f' width="{max(1.0, wide - 1.5):.1f}" height="{height:.1f}"/>'
                )
    return _svg(Markup("".join(parts)), f"Tasks that ended: at most {top:.0f} in one bar")  # noqa: S704  (numbers)


def _svg(inside: Markup, label: str) -> Markup:
    return Markup(
        '<svg class="plot" viewBox="0 0 {w} {h}" preserveAspectRatio="none" role="img"'
        ' aria-label="{label}"><title>{label}</title>{inside}</svg>'
    ).format(w=WIDTH, h=HEIGHT, label=label, inside=inside)


def badge(left: str, right: str, good: bool | None) -> Markup:
    """A badge of two words."""
    wide, more = (len(text) * 7 + 12 for text in (left, right))
    colour = {True: "#2f7d3b", False: "#b3261e", None: "#6b7280"}[good]
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{all}" height="20" role="img"'
        ' aria-label="{left}: {right}"><title>{left}: {right}</title>'
        '<rect width="{all}" height="20" rx="3" fill="#4b5563"/>'
        '<path d="M{wide} 0h{inner}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{inner}z" fill="{colour}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"'
        ' text-anchor="middle"><text x="{x1}" y="14" textLength="{l1}">{left}</text>'
        '<text x="{x2}" y="14" textLength="{l2}">{right}</text></g></svg>'
    ).format(
        all=wide + more,
        wide=wide,
        inner=more - 3,
        colour=colour,
        left=left,
        right=right,
        x1=wide / 2,
        x2=wide + more / 2,
        l1=wide - 12,
        l2=more - 12,
    )
