"""What /proc says of processes: descendants, titles, memory, CPU time."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.procs import cmdline, stat

MIB = 1024**2
TICK = 1 / os.sysconf("SC_CLK_TCK")


def parents() -> dict[int, int]:
    """Process → its parent, of all that live (zombies do not)."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent, *_ = stat(int(entry.name))
            if state not in "ZX":
                found[int(entry.name)] = int(parent)
    return found


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)

    def walk(top: int) -> Iterator[int]:
        yield top
        for child in children.get(top, ()):
            yield from walk(child)

    return list(walk(pid))


def title(pid: int) -> str:
    """Its command line; empty if it is gone."""
    with contextlib.suppress(OSError):
        return os.fsdecode(cmdline(pid).rstrip(b"\0").replace(b"\0", b" "))
    return ""


@dataclass(frozen=True)
class Memory:
    """Bytes: `private` is what would be freed if it ended, `pss` shares what is shared."""

    private: int
    pss: int


def memory(pid: int) -> Memory | None:
    """From smaps_rollup: Private_Clean + Private_Dirty, and Pss; None if it is gone."""
    fields: dict[str, int] = {}
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        key, _, rest = line.partition(":")
        fields[key] = int(rest.split()[0]) * 1024
    private = fields["Private_Clean"] + fields["Private_Dirty"]
    return Memory(private, fields["Pss"])


def cpu(pids: Iterable[int]) -> dict[int, float]:
    """Seconds of CPU that each process has used so far, all its threads together.

    `schedstat` counts nanoseconds. utime and stime, which are the same cut to ticks of 10 ms,
    would hide what hundreds of nearly idle processes use.
    """
    return {pid: seconds for pid in pids if (seconds := _cpu(pid)) is not None}


def _cpu(pid: int) -> float | None:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except FileNotFoundError:
        return _ticks(pid)  # a kernel without schedstat, or the process is gone
    except OSError:
        return None


def _ticks(pid: int, first: int = 11) -> float | None:
    with contextlib.suppress(OSError):
        fields = stat(pid)
        return (int(fields[first]) + int(fields[first + 1])) * TICK
    return None


def cpu_of_family(pid: int) -> float:
    """Seconds of CPU of a process and its descendants, those that have ended included."""
    pids = family(pid)
    return sum(cpu(pids).values()) + sum(_ticks(pid, 13) or 0.0 for pid in pids)
