"""Rooms for scripts that make source packages, beside a recorded frontend with a dist-git."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from backend.builders import script
from backend.builders.script import Room
from backend.config import load
from backend.exceptions import Canceled
from tests.frontend.distgit import DistGit
from tests.frontend.server import RecordedFrontend, recorded
from tests.integration.farm import SPEC


class Quiet:
    """A monitor that keeps the log; `stop` makes the next check raise."""

    def __init__(self) -> None:
        self.log = b""
        self.stop = False
        self.pipe = os.pipe()

    def output(self, data: bytes) -> None:
        self.log += data

    def wakeup_fd(self) -> int:
        return self.pipe[0]

    def check(self) -> None:
        if self.stop:
            raise Canceled("canceled on request")


def frontend(top: Path) -> AbstractContextManager[RecordedFrontend]:
    """It serves `top/files`."""
    (top / "files").mkdir()
    return recorded(top / "files")


@contextmanager
def lent(top: Path, server: RecordedFrontend, *, slot: int) -> Iterator[Room]:
    """A room for five minutes, which is removed with all that is in it."""
    (top / "be.conf").write_text("[backend]\n")
    lookaside = DistGit(server).lookaside
    config = load(top / "be.conf", {"backend.distgit_lookaside": lookaside})
    work = top / "work"
    work.mkdir(mode=0o700)
    monitor = Quiet()
    deadline = time.monotonic() + 300
    try:
        yield Room(config=config, workdir=work, slot=slot, deadline=deadline, monitor=monitor)
    finally:
        script.remove(config, work, slot)
        for fd in monitor.pipe:
            os.close(fd)


def sources(tmp_path: Path, name: str = "hello", extra: str = "Source0: data.txt") -> Path:
    tree = tmp_path / f"tree-{name}"
    tree.mkdir()
    (tree / f"{name}.spec").write_text(SPEC.format(name=name, tags=extra, build="true"))
    (tree / "data.txt").write_text("some data\n")
    return tree
