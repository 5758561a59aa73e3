"""What the processes of a build use, seen from outside, where no control group counts it."""

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from backend.builders.census import NAME, hides, opened, processes

PROC = Path("/proc")
#: Where a build has file systems in memory, mounted by us where it cannot change them.
IN_MEMORY = ("/dev/shm", "/run")  # noqa: S108
#: Descriptors of one build that are looked at when its removed files are counted; and where the
#: disk shows that it can matter, which may take a second.
MOST_OPEN = (20_000, 400_000)
#: A table of descriptors of this size is a usual one: shells keep their script at 255.
_USUAL_TABLE = 256
_COUNTED = (b"RssAnon", b"RssShmem", b"VmSwap", b"VmPTE", b"Threads", b"FDSize")


@dataclass(frozen=True, kw_only=True)
class Used:
    """Bytes of the processes' own, shared ones that they have mapped, those in their file systems
    in memory, and of what the kernel remembers for them; processes with their threads."""

    own: int = 0
    mapped: int = 0
    files: int = 0
    kernel: int = 0
    processes: int = 0

    def memory(self, held: int = 0, kernel: int = 0) -> int:
        """All, with what the program has found. What is mapped of files is in both."""
        return self.own + max(self.mapped, self.files + held) + self.kernel + kernel


def usage(pid: int, proc: Path = PROC) -> Used:
    """What process `pid` and its descendants use at this moment."""
    own = mapped = kernel = count = 0
    family = processes(pid, str(proc))
    for one in family:
        fields = _status(proc / str(one))
        own += 1024 * sum(fields.get(key, 0) for key in ("RssAnon", "VmSwap", "VmPTE"))
        mapped += 1024 * fields.get("RssShmem", 0)
        count += fields.get("Threads", 0)
        table = fields.get("FDSize", 0)
        kernel += NAME * table // 2 if table > _USUAL_TABLE else 0  # it doubles when it is full
    files, names = in_memory(family, proc)
    # What many have mapped is counted for each of them, but not more than there is.
    mapped = min(mapped, machine(proc).get("Shmem", mapped))
    return Used(own=own, mapped=mapped, files=files, kernel=kernel + NAME * names, processes=count)


def machine(proc: Path = PROC) -> dict[str, int]:
    """Bytes of the whole machine, as /proc/meminfo calls them."""
    found = {}
    with contextlib.suppress(OSError, ValueError):
        for line in (proc / "meminfo").read_text().splitlines():
            key, _, value = line.partition(":")
            found[key] = 1024 * int(value.split()[0])
    return found


def used_by_all(proc: Path = PROC) -> int:
    """Bytes that nobody on this machine could have now: no build can use more."""
    have = machine(proc)
    swapped = have.get("SwapTotal", 0) - have.get("SwapFree", 0)
    return have.get("MemTotal", sys.maxsize) - have.get("MemAvailable", 0) + swapped


def files_of_all(proc: Path = PROC) -> tuple[int, int]:
    """How many files all processes of this machine have open, and how many they can."""
    with contextlib.suppress(OSError, ValueError):
        used, _, most = (proc / "sys/fs/file-nr").read_text().split()
        return int(used), int(most)
    return 0, sys.maxsize


def open_files(pid: int, proc: Path = PROC) -> int:
    """How many descriptors process `pid` and its descendants have, about."""
    count = 0
    for one in processes(pid, str(proc)):
        with contextlib.suppress(OSError):  # that is 0 before Linux 6.2
            known = (proc / str(one) / "fd").stat().st_size
            count += known or _status(proc / str(one)).get("FDSize", 0) // 2
    return count


def unlinked(pid: int, device: int, most: int = MOST_OPEN[0], proc: Path = PROC) -> int | None:
    """Bytes in files of one file system that process `pid` and its descendants have removed, and
    hold open. None if nobody can tell: one hides it, or more than `most` descriptors are open."""
    found: dict[int, int] = {}
    left = most
    for one in processes(pid, str(proc)):
        if hides(one, str(proc)):
            return None
        for info in opened(f"{proc}/{one}/fd"):
            left -= 1
            if left < 0:
                return None
            if info.st_dev == device and info.st_nlink == 0:
                found[info.st_ino] = info.st_blocks * 512
    return sum(found.values())


def in_memory(family: list[int], proc: Path = PROC) -> tuple[int, int]:
    """Bytes and files in the build's own file systems in memory, as its last process sees them."""
    for one in reversed(family):
        size = names = 0
        with contextlib.suppress(OSError):  # it may end meanwhile
            for place in IN_MEMORY:
                seen = f"{proc}/{one}/root{place}"
                if os.stat(seen).st_dev == os.stat(place).st_dev:  # noqa: PTH116
                    break  # it is not in its sandbox yet
                used = os.statvfs(seen)
                size += (used.f_blocks - used.f_bfree) * used.f_frsize
                names += used.f_files - used.f_ffree
            else:
                return size, names
    return 0, 0


def _status(process: Path) -> dict[str, int]:
    """Of a process whose first thread has ended, the kernel tells it with the others only."""
    fields = _fields(process / "status")
    if fields.get("Threads", 0) > 1 and "RssAnon" not in fields:
        with contextlib.suppress(OSError):
            for task in (process / "task").iterdir():
                more = _fields(task / "status")
                if "RssAnon" in more:
                    return more
    return fields


def _fields(path: Path) -> dict[str, int]:
    found = {}
    with contextlib.suppress(OSError):
        for line in path.read_bytes().split(b"\n")[1:]:  # the first is a name that it chose
            key, _, value = line.partition(b":")
            if key in _COUNTED:
                found[key.decode()] = int(value.split()[0])
    return found
