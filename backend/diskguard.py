"""Whether a disk is too full to start anything: a decision on values, with a memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: Without a configured limit: so many bytes, on a small disk a twentieth of it.
DEFAULT = 1024**3
_SHARE = 20
#: The same of files that can still be made (inodes), and the least on a small disk.
FILES, FEWEST = 10_000, 400
#: What must be free again before anything starts, as a multiple of the limit.
_RELIEF = 1.25


@dataclass(frozen=True)
class Room:
    """Free and all bytes of the file system of one directory; files (inodes) that can still be
    made, and all of them (0: it counts none)."""

    free: int
    total: int
    files: int = 0
    all_files: int = 0


def limit(configured: int | None, total: int) -> int:
    """Bytes that must be free; 0: the disk is not guarded."""
    return min(DEFAULT, total // _SHARE) if configured is None else configured


def files_limit(configured: int | None, total: int) -> int:
    """Files that it must still be possible to make; 0: that is not guarded."""
    return 0 if configured == 0 or not total else min(FILES, max(FEWEST, total // _SHARE))


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
        least, few = limit(configured, room.total), files_limit(configured, room.all_files)
        more = _RELIEF if name in known else 1
        if room.free < int(least * more):
            found[name] = f"less than {size(least)} free in {name} (min_free)"
        elif room.files < int(few * more):
            found[name] = f"fewer than {few} more files can be made in {name} (inodes): remove some"
    return found
