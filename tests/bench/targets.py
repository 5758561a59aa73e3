"""What the figures must be, and the lines of the summary."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Target:
    """One figure with its bound; `load` is the machine's load average before and after."""

    name: str
    value: float
    unit: str
    limit: float
    at_least: bool = False
    load: tuple[float, ...] = ()

    @property
    def met(self) -> bool:
        """True when the figure is within its bound."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def bound(self) -> str:
        """For people: `≤ 10 ms`."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"


def targets(parts: Mapping[str, Any]) -> list[Target]:
    """Those that the parts which ran can say something about."""
    return [
        *_speed(parts.get("a")),
        *_size(parts.get("b")),
        *_rest(parts),
        *_publish(parts.get("f")),
        *_pages(parts.get("g")),
    ]


def _speed(part: Mapping[str, Any] | None) -> Iterator[Target]:
    if part:
        row = part["rows"][0]
        load = tuple(row["load"])
        yield Target(
            name="submit to build start, p50", value=row["p50_ms"], unit="ms", limit=10, load=load
        )
        yield Target(
            name="tasks through the whole path",
            value=row["tasks_per_s"],
            unit="/s",
            limit=300,
            at_least=True,
            load=load,
        )


def _size(part: Mapping[str, Any] | None) -> Iterator[Target]:
    for row in part["rows"] if part else ():
        workers, load = row["workers"], tuple(row["load"])
        if workers == 10:
            yield Target(
                name="ready, 10 workers", value=row["ready_s"], unit="s", limit=2, load=load
            )
        if workers != 200:
            continue
        yield Target(name="ready, 200 workers", value=row["ready_s"], unit="s", limit=5, load=load)
        yield Target(
            name="private memory of an idle worker, 200 workers",
            value=row["private_mib"],
            unit="MiB",
            limit=6,
            load=load,
        )
        if "idle_cpu_percent" in row:
            yield Target(
                name="CPU of the idle daemon, 200 workers",
                value=row["idle_cpu_percent"],
                unit="%",
                limit=1,
                load=load,
            )


def _rest(parts: Mapping[str, Any]) -> Iterator[Target]:
    if part := parts.get("d"):
        yield Target(
            name=f"scheduler, {part['tasks']} tasks, {part['slots']} slots",
            value=part["plan_ms"],
            unit="ms",
            limit=100,
            load=tuple(part["load"]),
        )
    if part := parts.get("e"):
        name, load = f"farm over xargs -P{part['jobs']}", tuple(part["load"])
        for more, key in {
            "": "overhead_percent",
            " without its Python starts": "overhead_strict_percent",
        }.items():
            yield Target(name=name + more, value=part[key], unit="%", limit=5, load=load)


def _publish(part: Mapping[str, Any] | None) -> Iterator[Target]:
    if part is None:
        return
    row, load = part["rows"][-1], tuple(part["load"])
    name = f"publishing into {row['packages']} packages"
    yield Target(
        name=f"{name}, times faster than createrepo_c --update",
        value=row["ratio"],
        unit="x",
        limit=20,
        at_least=True,
        load=load,
    )
    yield Target(
        name=f"{name}, over {part['rows'][0]['packages']}",
        value=part["growth"],
        unit="x",
        limit=2,
        load=load,
    )
    yield Target(
        name=f"{part['at_once']['builds']} builds at once, runs of publishing",
        value=part["at_once"]["runs"],
        unit="",
        limit=5,
        load=load,
    )


def _pages(part: Mapping[str, Any] | None) -> Iterator[Target]:
    if part is None:
        return
    load = tuple(part["load"])
    for row in part["rows"][:2]:
        name = f"{row['name']}, {part['builds']} builds, p50"
        yield Target(name=name, value=row["p50_ms"], unit="ms", limit=50, load=load)
    row = max(part["lists"][:2], key=lambda row: row["ratio"])  # of all builds, as copr-cli asks
    yield Target(
        name=f"{row['limit']} of {part['listed']} builds, at {row['offset']} over the first",
        value=row["ratio"],
        unit="x",
        limit=1.2,
        load=load,
    )
    readers = part["readers"]
    name = f"{readers['readers']} readers of one live log"
    yield Target(name=name, value=readers["cores"], unit="cores", limit=1, load=load)
