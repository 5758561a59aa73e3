"""What a running build may use up beside time and log: memory, processes, disk, files.

A control group enforces memory and processes where one can be had. Elsewhere the processes
of the build are looked at every two seconds, on top of what prlimit enforces for each of them.
The disk is looked at by `du`, which runs beside the build.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend import disk
from backend.builders.cgroup import Group
from backend.config import Config
from backend.exceptions import BuildError
from backend.process import Child, find

MIB = 1024**2
#: `du` rests so many times longer than it takes.
REST = 10
DRAIN = 60.0
#: Where a build has file systems in memory, mounted by us where it cannot change them.
IN_MEMORY = ("/dev/shm", "/run")  # noqa: S108
#: Bytes of the kernel's memory that a file there takes even if it is empty.
NAME = 1024
AT_ONCE = 0.05
#: Descriptors of one build that are looked at.
MOST_OPEN = 20000
_DU = 'du -sx -B1 -- "$1" 2>/dev/null; du -sx --inodes -- "$1" 2>/dev/null; :'

#: What programs say when prlimit refused them something → the limit.
_HINTS = (
    (r"[Rr]esource temporarily unavailable", "processes", "max_processes"),
    (r"File too large|File size limit exceeded", "size of a file", "max_file"),
    (
        r"Cannot allocate memory|[Oo]ut of memory|MemoryError|bad_alloc|memory exhausted",
        "memory of each process",
        "max_memory",
    ),
    (r"Too many open files", "open files", ""),
)


def memory(config: Config) -> int:
    """Bytes that all processes of one build may use; by default half of the machine's."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return config.builder_build_memory or max(whole // 2, 64 * MIB)


def describe(config: Config, where: object) -> str:
    """One line: the limits of a build, and who enforces them."""
    disk = f"{config.builder_max_disk // MIB} MB" if config.builder_max_disk else "what is free"
    files = config.builder_max_files or "any number of"
    return (
        f"memory {memory(config) // MIB} MB, {config.builder_max_processes} processes ({where});"
        f" disk {disk}, {files} files; log {config.builder_max_log // MIB} MB;"
        f" time {config.builder_timeout} s, silence {config.builder_stall_timeout} s"
    )


def hint(words: str) -> str:
    """Which limit of ours a failed build may have met, in parentheses; empty if none."""
    for pattern, what, option in _HINTS:
        if re.search(pattern, words):
            return f" (perhaps the limit on {what}{f': {option}' if option else ''})"
    return ""


@dataclass(frozen=True)
class Used:
    """What the processes of a build use: bytes, and processes with their threads."""

    memory: int
    processes: int


class Watch:
    """Judges one running build. `area` is where it writes, `pid` its first process.

    Leave it as a context manager: that ends `du`.
    """

    def __init__(self, config: Config, area: Path, pid: int, group: Group | None) -> None:
        self._config, self._area, self._pid, self._group = config, area, pid, group
        self._free = _free(area)
        self._du: tuple[Child, int] | None = None
        self._began = self._next = 0.0

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        if self._du:
            self._end_du()

    def check(self) -> None:
        """Raises BuildError that names the limit which the build exceeds. Blocks for no disk."""
        self._check_group()
        if self._group is None:
            self._check_processes()
        if self._config.builder_max_disk or self._config.builder_max_files:
            self._check_disk()

    def final(self) -> None:
        """The same when it has ended, without processes; waits for `du` where that can matter."""
        self._check_group()
        limit, gone = self._config.builder_max_disk, self._free - _free(self._area)
        if limit and gone >= limit:
            if self._du:
                self._end_du()
            self._begin_du()
            assert self._du
            self._du[0].wait(DRAIN)
            self._check_disk()

    def _check_group(self) -> None:
        if self._group is None:
            return
        if self._group.out_of_memory():
            raise _memory_limit(self._group.memory)
        if self._group.out_of_processes():
            raise _process_limit(self._config)

    def _check_processes(self) -> None:
        used = usage(self._pid)
        if used.memory > memory(self._config):
            raise _memory_limit(memory(self._config))
        if used.processes >= self._config.builder_max_processes - 1:
            raise _process_limit(self._config)

    def _check_disk(self) -> None:
        if self._du is None:
            if time.time() < self._next:
                return
            self._begin_du()
        assert self._du
        child, file = self._du
        if child.wait(AT_ONCE) is None:
            return
        numbers = [line.split()[0] for line in os.pread(file, 4096, 0).splitlines()]
        ended = os.fstat(file).st_mtime
        self._end_du()
        self._next = ended + REST * max(0.0, min(ended - self._began, DRAIN))
        found = [int(number) for number in numbers if number.isdigit()]
        if len(found) == 2:
            self._judge(found[0] + self._held(), found[1])

    def hidden(self) -> int:
        """Bytes that may be the build's though nobody finds them below its directory."""
        return max(self._held(), self._closed())

    def _held(self) -> int:
        with contextlib.suppress(OSError):
            return unlinked(self._pid, self._area.stat().st_dev)
        return 0

    def _closed(self) -> int:
        """All that is gone, where the build has closed directories to us: we are no root."""
        return max(0, self._free - _free(self._area)) if disk.closed(self._area) else 0

    def _judge(self, size: int, files: int) -> None:
        most, many = self._config.builder_max_disk, self._config.builder_max_files
        if most and size <= most < self._free - _free(self._area):
            size = max(size, self._closed())
        if most and size > most:
            raise BuildError(f"build ended: disk limit of {most // MIB} MB (max_disk)")
        if many and files > many:
            raise BuildError(f"build ended: more than {many} files (max_files)")

    def _begin_du(self) -> None:
        file = os.memfd_create("du")
        self._began = time.time()
        argv = [find("sh"), "-c", _DU, "sh", str(self._area)]
        self._du = Child(argv, stdout=file), file

    def _end_du(self) -> None:
        assert self._du
        child, file = self._du
        self._du = None
        child.close()
        os.close(file)


def _memory_limit(limit: int) -> BuildError:
    return BuildError(f"build ended: memory limit of {limit // MIB} MB (build_memory)")


def _process_limit(config: Config) -> BuildError:
    return BuildError(
        f"build ended: limit of {config.builder_max_processes} processes (max_processes)"
    )


def _free(path: Path) -> int:
    free = os.statvfs(path)
    return free.f_bfree * free.f_frsize


def usage(pid: int, proc: Path = Path("/proc")) -> Used:
    """What process `pid` and its descendants use at this moment, in file systems of theirs that
    are in memory, too."""
    own = shared = count = 0
    family = _family(pid, proc)
    for one in family:
        fields = _status(proc / str(one) / "status")
        own += 1024 * fields.get("RssAnon", 0)
        shared += 1024 * fields.get("RssShmem", 0)
        count += fields.get("Threads", 0)
    files, names = _in_memory(family, proc)
    # What is mapped of these files is in both.
    return Used(own + max(shared, files) + NAME * names, count)


def unlinked(pid: int, device: int, proc: Path = Path("/proc")) -> int:
    """Bytes in files of one file system that process `pid` and its descendants have removed, and
    hold open. Of any number of descriptors only so many are looked at."""
    found: dict[int, int] = {}
    left = MOST_OPEN
    for one in _family(pid, proc):
        with contextlib.suppress(OSError), os.scandir(f"{proc}/{one}/fd") as entries:
            for entry in entries:
                left -= 1
                if left < 0:
                    return sum(found.values())
                with contextlib.suppress(OSError):  # it may be closed meanwhile
                    info = os.stat(entry.path)  # noqa: PTH116
                    if info.st_dev == device and info.st_nlink == 0:
                        found[info.st_ino] = info.st_blocks * 512
    return sum(found.values())


def _family(pid: int, proc: Path) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for one, parent in _parents(proc):
        children.setdefault(parent, []).append(one)
    found = [pid]
    for one in found:
        found += children.get(one, ())
    return found


def _in_memory(family: list[int], proc: Path) -> tuple[int, int]:
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


def _parents(proc: Path) -> Iterator[tuple[int, int]]:
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                stat = (entry / "stat").read_bytes().rpartition(b")")[2]
                yield int(entry.name), int(stat.split()[1])


def _status(path: Path) -> dict[str, int]:
    found = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            if key in ("RssAnon", "RssShmem", "Threads"):
                found[key] = int(value.split()[0])
    return found
