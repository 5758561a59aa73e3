"""What a running build may use up beside time and log: memory, processes, disk, files.

A control group enforces memory and processes where one can be had. Elsewhere the processes
of the build are looked at every two seconds, on top of what prlimit enforces for each of them.
The disk is looked at by `du`, and memory that no process has mapped by `census`, which run beside
the build.
"""

import contextlib
import os
import re
import sys
from pathlib import Path

from backend import disk
from backend.builders import census
from backend.builders.beside import Beside
from backend.builders.cgroup import Group
from backend.builders.usage import (
    MOST_OPEN,
    files_of_all,
    machine,
    open_files,
    unlinked,
    usage,
    used_by_all,
)
from backend.config import Config
from backend.exceptions import BuildError
from backend.process import find

MIB = 1024**2
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


class Watch:
    """Judges one running build. `area` is where it writes, `pid` its first process.

    Leave it as a context manager: that ends what runs beside the build.
    """

    def __init__(self, config: Config, area: Path, pid: int, group: Group | None) -> None:
        self._config, self._area, self._pid, self._group = config, area, pid, group
        self._free = disk.free(area)
        self._du = Beside([find("sh"), "-c", _DU, "sh", str(area)])
        self._census = Beside([sys.executable, "-I", "-S", census.__file__, str(pid)])
        self._shared, self._unmapped = machine().get("Shmem", 0), (0, 0)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._du.close()
        self._census.close()

    def check(self) -> None:
        """Raises BuildError that names the limit which the build exceeds. Blocks for no disk."""
        self._check_group()
        if self._group is None:
            self._check_processes()
        self._check_open_files()
        if self._config.builder_max_disk or self._config.builder_max_files:
            self._judge(self._du.look())

    def final(self) -> None:
        """The same when it has ended, without processes; waits for `du` where that can matter."""
        self._check_group()
        limit = self._config.builder_max_disk
        if limit and self._gone() >= limit:
            self._judge(self._du.once_more())

    def _check_group(self) -> None:
        if self._group is None:
            return
        if self._group.out_of_memory():
            raise _memory_limit(self._group.memory)
        if self._group.out_of_processes():
            raise _process_limit(self._config)

    def _check_processes(self) -> None:
        used = usage(self._pid)
        if used.processes >= self._config.builder_max_processes - 1:
            raise _process_limit(self._config)
        limit = memory(self._config)
        if used_by_all() <= limit:  # the more so this build: what is counted may be too much
            return
        found = self._census.look()
        if found and len(found) == 3:
            more = machine().get("Shmem", 0) - self._shared if found[2] else 0
            self._unmapped = max(found[0], more), found[1]
        if used.memory(*self._unmapped) <= limit:
            return
        # What a process has at the moment in which it starts another is seen twice: once more.
        if usage(self._pid).memory(*self._unmapped) > limit:
            raise _memory_limit(limit)

    def _check_open_files(self) -> None:
        """Of what has no limit for each build. Where systemd runs, the machine has none either."""
        used, most = files_of_all()
        if used > most // 2 and open_files(self._pid) > most // 4:
            raise BuildError(
                f"build ended: a quarter of the {most} files that all programs of the machine can"
                " have open (fs.file-max)"
            )

    def hidden(self) -> int:
        """Bytes that may be the build's though nobody finds them below its directory."""
        held = self._held(longer=True)
        return self._gone() if held is None else max(held, self._closed())

    def _held(self, *, longer: bool) -> int | None:
        with contextlib.suppress(OSError):
            return unlinked(self._pid, self._area.stat().st_dev, MOST_OPEN[longer])
        return 0

    def _closed(self) -> int:
        """All that is gone, where the build has closed directories to us: we are no root."""
        return self._gone() if disk.closed(self._area) else 0

    def _gone(self) -> int:
        return max(0, self._free - disk.free(self._area))

    def _judge(self, found: list[int] | None) -> None:
        if not found or len(found) != 2:  # it goes on, or was ended
            return
        most, many = self._config.builder_max_disk, self._config.builder_max_files
        (size, files), held = found, self._held(longer=self._gone() > most)
        size = max(size, self._gone()) if held is None else size + held
        if most and size <= most < self._gone():
            size = max(size, self._closed())
        if most and size > most:
            raise BuildError(f"build ended: disk limit of {most // MIB} MB (max_disk)")
        if many and files > many:
            raise BuildError(f"build ended: more than {many} files (max_files)")


def _memory_limit(limit: int) -> BuildError:
    return BuildError(f"build ended: memory limit of {limit // MIB} MB (build_memory)")


def _process_limit(config: Config) -> BuildError:
    return BuildError(
        f"build ended: limit of {config.builder_max_processes} processes (max_processes)"
    )
