"""Locks that die with their holder: flock for sections, and the daemon's pid file."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from backend.exceptions import AlreadyRunning, CoprBackendError


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; waits for its holder, who releases it even by dying."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class PidFile:
    """The daemon's pid file: the flock says whether it runs, the content says who it is.

    A file left by SIGKILL carries no lock and is simply taken over. systemd's `PIDFile=`
    reads the number; nobody else needs to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def _lock(self) -> int:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CoprBackendError(
                f"cannot write the pid file {self.path}: {error.strerror};"
                " correct rundir or its permissions"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise AlreadyRunning(
                f"copr-backend already runs as pid {holder} (pid file {self.path}):"
                " stop it first, or use a configuration with another rundir"
            ) from None
        return fd

    def check(self) -> None:
        """Raises what `acquire` would raise, and changes nothing."""
        os.close(self._lock())

    def acquire(self, uid: int | None = None, gid: int | None = None) -> Self:
        """Take the file and write our pid; raises AlreadyRunning naming the other daemon.

        `uid` and `gid`: whose the file shall be, when the process will change to them.
        """
        self._fd = self._lock()
        if os.geteuid() == 0 and uid is not None and gid is not None:
            os.fchown(self._fd, uid, gid)
        self.write()
        return self

    def write(self) -> None:
        """Write the current pid; call it again after a fork that changed it."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Remove the file while the lock is still held, so that no newer one is hit.

        In a directory that only root may write to it stays, empty.
        """
        if self._fd >= 0:
            try:
                self.path.unlink(missing_ok=True)
            except PermissionError:
                os.ftruncate(self._fd, 0)
            self.abandon()

    def abandon(self) -> None:
        """Close our descriptor only: what a forked child does with its copy.

        The lock belongs to the open file, which parent and child share; it is free when the
        last copy is closed. So every child calls this first.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
