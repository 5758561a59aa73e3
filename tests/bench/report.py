"""What `make bench` prints: a table for each part, then every figure that has a target."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.bench.targets import targets


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they must be; the first one left-aligned, the others right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    for row in (head, ["-" * width for width in widths], *rows):
        first, *others = zip(row, widths, strict=True)
        cells = [f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]
        yield "  ".join(cells).rstrip()


def render(result: Mapping[str, Any]) -> str:
    """The whole report."""
    lines = []
    writers = {"a": _speed, "b": _size, "d": _plan, "e": _packages, "f": _publish, "g": _pages}
    for name, write in writers.items():
        if part := result["parts"].get(name):
            lines += [*write(part), ""]
    rows = [
        [
            target.name,
            f"{target.value:.4g} {target.unit}",
            target.bound,
            "met" if target.met else "MISSED",
            _load(target.load),
        ]
        for target in targets(result["parts"])
    ]
    if rows:
        lines += table(["figure", "here", "target", "", "load average"], rows)
    return "\n".join(lines)


def _load(values: Sequence[float]) -> str:
    return " … ".join(f"{value:.1f}" for value in values)


def _speed(part: Mapping[str, Any]) -> Iterator[str]:
    rows, ours = part["rows"], part["rows"][0]
    yield (
        f"(a) {part['workers']} worker processes each, the same Redis server,"
        f" {part['samples']} single tasks on an idle system"
    )
    yield from table(
        ["", "p50 ms", "p99 ms", "tasks/s", "ours is", "CPU ms/task", "worker MiB", "load average"],
        [
            [
                row["name"],
                f"{row['p50_ms']:.1f}",
                f"{row['p99_ms']:.1f}",
                f"{row['tasks_per_s']:.0f}",
                f"{ours['tasks_per_s'] / row['tasks_per_s']:.2f} x",
                f"{row['cpu_ms_per_task']:.2f}",
                f"{row['private_mib']:.1f}" if row["private_mib"] else "-",
                _load(row["load"]),
            ]
            for row in rows
        ],
    )
    yield "    ours: the whole path, from API and database to results and report;"
    yield "    the others': queue and worker alone. CPU: all processes, without Redis and submitter"
    yield (
        f"    whole builds (a source task and the RPM task that it releases):"
        f" {ours['builds_per_s']:.0f}/s;"
        f" one request each {ours['builds_per_s_one_request_each']:.0f}/s,"
        f" 50 a request {ours['builds_per_s_50_a_request']:.0f}/s;"
        f" a single one takes {ours['whole_build_p50_ms']:.0f} ms"
    )
    if part["absent"]:
        yield f"    not installed: {', '.join(part['absent'])}"


def _size(part: Mapping[str, Any]) -> Iterator[str]:
    yield "(b, c) an idle daemon with the real builder and its private Redis; CPU in % of one core"
    yield from table(
        ["workers", "ready s", "private MiB", "Pss MiB", "daemon MiB", "CPU %", "load average"],
        [
            [
                str(row["workers"]),
                f"{row['ready_s']:.2f}",
                f"{row['private_mib']:.2f}",
                f"{row['pss_mib']:.2f}",
                f"{row['daemon_pss_mib']:.0f}",
                f"{row['idle_cpu_percent']:.2f}" if "idle_cpu_percent" in row else "-",
                _load(row["load"]),
            ]
            for row in part["rows"]
        ],
    )
    for row in part["rows"]:
        if "idle_cpu_by_role" in row:
            roles = ", ".join(f"{k} {v:.2f}" for k, v in sorted(row["idle_cpu_by_role"].items()))
            yield f"    {row['workers']} workers, CPU % by process: {roles}"
    if part["celery"]:
        private = part["celery"]["private_mib"]
        yield (
            f"    an idle child of Celery's prefork pool: {private:.1f} MiB private,"
            f" {private / part['rows'][0]['private_mib']:.1f} x ours"
        )


def _plan(part: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"(d) scheduler, {part['tasks']} waiting tasks, {part['slots']} slots:"
        f" {part['plan_ms']:.1f} ms (worst {part['plan_worst_ms']:.1f})"
    )


def _packages(part: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"(e) {part['packages']} C packages, farm with {part['jobs']} workers against"
        f" xargs -P{part['jobs']}, seconds by round"
    )
    yield from table(
        ["", *(str(number + 1) for number in range(len(part["farm_s"])))],
        [
            [name, *(f"{value:.2f}" for value in part[key])]
            for name, key in {
                "farm": "farm_s",
                "xargs": "xargs_s",
                "xargs, building nothing": "xargs_without_build_s",
                "CPU of the farm": "farm_cpu_s",
                "CPU of xargs": "xargs_cpu_s",
            }.items()
        ],
    )
    yield (
        f"    overhead {part['overhead_percent']:.1f} %;"
        f" against xargs without its Python starts {part['overhead_strict_percent']:.1f} %,"
        f" of CPU time {part['overhead_cpu_percent']:.1f} %"
    )


def _publish(part: Mapping[str, Any]) -> Iterator[str]:
    yield "(f) publishing one more build, and createrepo_c --update in turn; ms"
    yield from table(
        ["packages", "ours", "worst", "createrepo_c", "ours is faster"],
        [
            [
                str(row["packages"]),
                f"{row['ours_ms']:.1f}",
                f"{row['ours_worst_ms']:.1f}",
                f"{row['createrepo_ms']:.0f}",
                f"{row['ratio']:.1f} x",
            ]
            for row in part["rows"]
        ],
    )
    at_once = part["at_once"]
    yield (
        f"    {at_once['builds']} builds that end at once are published in"
        f" {at_once['runs']} runs within {at_once['seconds']:.2f} s"
    )


def _pages(part: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"(g) the frontend, {part['builds']} builds in {part['projects']} projects, and one with"
        f" {part['listed']}; ms"
    )
    yield from table(
        ["page", "p50", "p95", "of CPU"],
        [
            [row["name"], f"{row['p50_ms']:.1f}", f"{row['p95_ms']:.1f}", f"{row['cpu_ms']:.1f}"]
            for row in part["rows"]
        ],
    )
    yield from table(
        ["list", "builds a page", "offset 0, CPU", "offset", "there, CPU", "ratio"],
        [
            [
                row["name"],
                str(row["limit"]),
                f"{row['first']['cpu_ms']:.1f}",
                str(row["offset"]),
                f"{row['there']['cpu_ms']:.1f}",
                f"{row['ratio']:.2f} x",
            ]
            for row in part["lists"]
        ],
    )
    readers = part["readers"]
    yield (
        f"    {readers['complete']} of {readers['readers']} readers of a log that grows by"
        f" {readers['lines_per_s']:.0f} lines/s have all of it; the frontend needs"
        f" {readers['cores']:.3f} cores"
    )
