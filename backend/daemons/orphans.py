"""Programs whose worker died: the master adopts them, ends them, and reaps them.

They have a parent-death signal and go by themselves; this makes sure of it, and leaves no
zombie for an init that may not exist in a container.
"""

import contextlib
import ctypes
import os
import select
import signal
import time
from collections.abc import Set
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def adopt() -> None:
    """From now on orphaned descendants become children of this process."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap(own: Set[int]) -> None:
    """Reap ended orphans; never touches `own`, the children that somebody else waits for."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, 0)


def children() -> set[int]:
    """Pids of all children of this process, zombies included."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[1]) == os.getpid():
                found.add(int(entry.name))
    return found


def end(own: Set[int], timeout: float) -> None:
    """Kill all orphans and wait until they are gone, at most `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while orphans := children() - own:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return
        select.select([], [], [], 0.005)
