"""Whether a disk is too full to start anything: a decision on values, with a memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: Without a configured limit: so many bytes, on a small disk a twentieth of it.
DEFAULT = 1024**3
_SHARE = 20
#: What must be free again before anything starts, as a multiple of the limit.
_RELIEF = 1.25


@dataclass(frozen=True)
class Room:
    """Free and all bytes of the file system of one directory."""

    free: int
    total: int


def limit(configured: int | None, total: int) -> int:
    """Bytes that must be free; 0: the disk is not guarded."""
    return min(DEFAULT, total // _SHARE) if configured is None else configured


def size(number: float) -> str:
    """E.g. `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def short(
    rooms: Mapping[str, Room], configured: int | None, *, already: Iterable[str] = ()
) -> dict[str, str]:
    """The directories that lack room, each with words about it, which do not change meanwhile.

    One that is `already` short stays so until a quarter more than the limit is free: a disk at
    the limit does not make the farm start and stop.
    """
    known = frozenset(already)
    found = {}
    for name, room in rooms.items():
        least = limit(configured, room.total)
        needed = int(least * _RELIEF) if name in known else least
        if room.free < needed:
            found[name] = f"less than {size(least)} free in {name} (min_free)"
    return found
