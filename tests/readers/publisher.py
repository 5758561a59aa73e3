"""A process that publishes what it is told, each time in a child that may have to die.

Each line on stdin: `add|drop|all BUILD LEFT`. The child is killed right before it changes
something on disk for the LEFT-th time (never, if negative): so a kill strikes at every moment on
a machine of any speed. The answer is its exit code.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.repo import compare
from backend.repository import publish

_CHANGES = ("rename", "replace", "link", "unlink", "mkdir", "rmdir", "fsync", "write")


def main(repo: Path) -> None:
    """Until the end of stdin."""
    compare.SCAN_BELOW = 0  # as in a large repository
    for line in sys.stdin:
        what, build, left = line.split()
        if pid := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            continue
        code = 1
        try:
            if int(left) >= 0:
                _doom(int(left))
            _publish(repo, what, build)
            code = 0
        finally:
            os._exit(code)


def _publish(repo: Path, what: str, build: str) -> None:
    if what == "add":
        publish(repo, build=build)
    elif what == "drop":
        publish(repo, without=[build])
    else:
        publish(repo)


def _doom(left: int) -> None:
    """Die by SIGKILL at that change."""
    changes = iter(range(left))

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:
            if next(changes, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **more)

        return wrapped

    for name in _CHANGES:
        setattr(os, name, deadly(getattr(os, name)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
