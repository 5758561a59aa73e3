"""The figures as one picture."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

OURS, OTHERS = "tab:blue", "tab:gray"
_Draw = Callable[[Any], None]


def draw(result: Mapping[str, Any], target: Path) -> bool:
    """Write a PNG; False when there is nothing to draw, or matplotlib is not installed."""
    panels = _panels(result["parts"])
    if not panels or importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(5 * columns, 3.6 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, paint) in enumerate(panels.items()):
        axes = figure.add_subplot(lines, columns, number + 1)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        paint(axes)
    machine = result["machine"]
    figure.suptitle(f"copr-backend on {machine['cores']} cores, {result['when']}", fontsize=11)
    figure.savefig(target, dpi=120)
    return True


def _panels(parts: Mapping[str, Any]) -> dict[str, _Draw]:
    panels: dict[str, _Draw] = {}
    if part := parts.get("a"):
        panels["Submit to start on an idle system, p50 and p99, ms"] = _latency(part["rows"])
        panels["No-op tasks per second (ours: whole path)"] = _rates(part["rows"])
    if part := parts.get("b"):
        rows, celery = part["rows"], part["celery"]
        panels["Private memory of an idle worker, MiB"] = _memory(rows, celery)
        panels["Seconds until ready"] = _line(rows, "ready_s", "workers")
        watched = [row for row in rows if "idle_cpu_percent" in row]
        if watched:
            panels["CPU of the idle daemon, % of a core"] = _stack(watched)
    if part := parts.get("e"):
        panels[f"{part['packages']} packages, seconds"] = _rounds(part)
    if part := parts.get("f"):
        panels["Publishing one more build, ms, and times faster"] = _publish(part["rows"])
    return panels


def _bound(axes: Any, value: float) -> None:
    """The target, where there is one."""
    axes.axhline(value, color="tab:red", linestyle="--", linewidth=1)


def _latency(rows: Sequence[Mapping[str, Any]]) -> _Draw:
    def paint(axes: Any) -> None:
        places = range(len(rows))
        colors = [OURS, *[OTHERS] * (len(rows) - 1)]
        axes.bar(places, [row["p99_ms"] for row in rows], color=colors, alpha=0.35)
        bars = axes.bar(places, [row["p50_ms"] for row in rows], color=colors)
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
        _bound(axes, 10)
        axes.set_xticks(places, [row["name"] for row in rows], fontsize=8)

    return paint


def _rates(rows: Sequence[Mapping[str, Any]]) -> _Draw:
    def paint(axes: Any) -> None:
        colors = [OURS, *[OTHERS] * (len(rows) - 1)]
        bars = axes.bar(range(len(rows)), [row["tasks_per_s"] for row in rows], color=colors)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
        axes.set_yscale("log")
        _bound(axes, 300)
        axes.set_xticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)

    return paint


def _memory(rows: Sequence[Mapping[str, Any]], celery: Mapping[str, Any] | None) -> _Draw:
    def paint(axes: Any) -> None:
        names = [f"{row['workers']}" for row in rows]
        values = [row["private_mib"] for row in rows]
        colors = [OURS] * len(rows)
        if celery:
            names, values = [*names, "Celery"], [*values, celery["private_mib"]]
            colors.append(OTHERS)
        axes.bar_label(axes.bar(names, values, color=colors), fmt="%.1f", fontsize=8)
        _bound(axes, 6)
        axes.set_xlabel("workers", fontsize=8)

    return paint


def _line(rows: Sequence[Mapping[str, Any]], key: str, label: str) -> _Draw:
    def paint(axes: Any) -> None:
        axes.plot([row["workers"] for row in rows], [row[key] for row in rows], "o-", color=OURS)
        axes.set_ylim(bottom=0)
        _bound(axes, 5)
        axes.set_xlabel(label, fontsize=8)

    return paint


def _stack(rows: Sequence[Mapping[str, Any]]) -> _Draw:
    def paint(axes: Any) -> None:
        names = [str(row["workers"]) for row in rows]
        bottom = [0.0] * len(rows)
        roles = sorted({role for row in rows for role in row["idle_cpu_by_role"]})
        for role in roles:
            values = [row["idle_cpu_by_role"].get(role, 0.0) for row in rows]
            axes.bar(names, values, bottom=bottom, label=role)
            bottom = [a + b for a, b in zip(bottom, values, strict=True)]
        _bound(axes, 1)
        axes.legend(fontsize=7)
        axes.set_xlabel("workers", fontsize=8)

    return paint


def _rounds(part: Mapping[str, Any]) -> _Draw:
    def paint(axes: Any) -> None:
        places = range(len(part["farm_s"]))
        axes.bar([p - 0.2 for p in places], part["farm_s"], 0.4, color=OURS, label="farm")
        axes.bar([p + 0.2 for p in places], part["xargs_s"], 0.4, color=OTHERS, label="xargs -P")
        axes.set_xticks(places, [f"round {p + 1}" for p in places], fontsize=8)
        axes.legend(fontsize=7)

    return paint


def _publish(rows: Sequence[Mapping[str, Any]]) -> _Draw:
    def paint(axes: Any) -> None:
        places = range(len(rows))
        bars = {"ours": ("ours_ms", -0.2, OURS), "createrepo_c": ("createrepo_ms", 0.2, OTHERS)}
        for label, (key, offset, color) in bars.items():
            values = [row[key] for row in rows]
            made = axes.bar([p + offset for p in places], values, 0.4, color=color, label=label)
            axes.bar_label(made, fmt="%.0f", fontsize=8)
        axes.set_yscale("log")
        names = [f"{row['packages']} packages\n{row['ratio']:.0f} x" for row in rows]
        axes.set_xticks(places, names, fontsize=8)
        axes.legend(fontsize=7)

    return paint
