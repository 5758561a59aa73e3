"""Which processes belong to one arena, and what each of them is."""

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.procs import stat

MARK = "CHAOS_ARENA"
#: User ids that the builds of one arena may use, from its first one on.
UIDS = 40


@dataclass(frozen=True)
class Proc:
    """One process: number, start time (they identify it), and its command line or title."""

    pid: int
    start: int
    title: str

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to exactly this process; False if it is gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if _stat(self.pid)[1] != self.start:
                return False
            signal.pidfd_send_signal(fd, number)
        except (OSError, ValueError):
            return False
        finally:
            os.close(fd)
        return True


def _stat(pid: int) -> tuple[str, int]:
    """State letter and start time."""
    fields = stat(pid)
    return fields[0], int(fields[19])


def _belongs(entry: Path, top: str, uid: int) -> bool:
    with contextlib.suppress(OSError):
        if uid <= entry.stat().st_uid < uid + UIDS:
            return True
        if top.encode() in (entry / "cmdline").read_bytes():
            return True
        if f"{MARK}={top}".encode() in (entry / "environ").read_bytes().split(b"\0"):
            return True
        return str((entry / "cwd").readlink()).startswith(top + "/")
    return False


def ours(top: Path, uid: int) -> list[Proc]:
    """Every living process with the arena's mark, directory, or build user ids."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid == os.getpid() or not _belongs(entry, str(top), uid):
            continue
        with contextlib.suppress(OSError, ValueError):
            state, start = _stat(pid)
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if state not in "ZX":
                found.append(Proc(pid, start, title.strip()))
    return found


def named(procs: list[Proc], role: str) -> list[Proc]:
    """Those in a role: master, worker, jobgrab, log, web, redis, or part of a command line."""
    roles: dict[str, Callable[[str], bool]] = {
        "master": lambda t: t.startswith("copr-be: master"),
        "worker": lambda t: t.startswith("copr-be: worker"),
        "jobgrab": lambda t: t.startswith("copr-be: jobgrab"),
        "log": lambda t: t.startswith("copr-be: log"),
        "web": lambda t: t.startswith("copr-be: web") or "tests.chaos.webserver" in t,
        "redis": lambda t: t.startswith("redis-server ") or "/redis-server " in t,
    }

    def program(title: str) -> bool:
        return role in title and not title.startswith("copr-be:")

    test = roles.get(role, program)
    return [proc for proc in procs if test(proc.title)]
