"""Locks that die with their holder: flock for sections, the daemon's pid file, its statedir."""

import contextlib
import fcntl
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from backend.exceptions import AlreadyRunning, CoprBackendError
from backend.processid import ProcessId

#: A look at the pid file locks it for an instant; whoever meets that tries again, in seconds.
_RETRY, _TRIES = 0.02, 15
#: Longest pause between two tries for a lock, in seconds.
_PAUSE = 0.02


def _wait_on(_holder: str) -> None:
    """Just wait."""


@contextlib.contextmanager
def exclusive(
    path: Path, *, who: str = "", limit: float = 3600.0, waiting: Callable[[str], None] = _wait_on
) -> Iterator[None]:
    """Hold the lock file at `path`; waits for its holder, who releases it even by dying.

    `who` is what the file tells about us. `waiting` is called with the name of the holder while
    it waits: once at first, then again and again with an empty text; what it raises ends the
    wait. Raises TimeoutError naming the holder after `limit` seconds. The file is there only
    while somebody holds it, or died with it.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = _acquire(directory, path, limit, waiting)
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{who or os.getpid()}\n".encode(), 0)
            yield
        finally:
            # Still locked: whoever waits for this file then finds it without a name.
            with contextlib.suppress(OSError):
                os.unlink(path.name, dir_fd=directory)
            os.close(fd)
    finally:
        os.close(directory)


def _acquire(directory: int, path: Path, limit: float, waiting: Callable[[str], None]) -> int:
    """A descriptor of the lock file, which is ours now."""
    deadline = time.monotonic() + limit
    while True:
        fd = os.open(path.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            _await_turn(fd, path, limit, deadline, waiting)
            if os.fstat(fd).st_nlink:
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its holder has removed it


def _await_turn(
    fd: int, path: Path, limit: float, deadline: float, waiting: Callable[[str], None]
) -> None:
    pause, holder = 0.001, ""
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if holder:
            waiting("")
        else:
            holder = os.pread(fd, 200, 0).decode("utf-8", "replace").strip() or "somebody"
            waiting(holder)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is held by {holder} for more than {limit:g} s")
        select.select([], [], [], pause)
        pause = min(2 * pause, _PAUSE)


class PidFile:
    """The daemon's pid file: the flock says whether it runs, the content says who it is.

    A file left by SIGKILL carries no lock and is simply taken over. systemd's `PIDFile=`
    reads the number; nobody else needs to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def _lock(self) -> int:
        fd = self._lock_one()
        while not _is(fd, self.path):  # its holder has removed it meanwhile: it is nobody's file
            os.close(fd)
            fd = self._lock_one()
        return fd

    def _lock_one(self) -> int:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CoprBackendError(
                f"cannot write the pid file {self.path}: {error.strerror};"
                " correct rundir or its permissions"
            ) from error
        if _busy(fd, fcntl.LOCK_EX):
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise AlreadyRunning(
                f"copr-backend already runs as pid {holder} (pid file {self.path}):"
                " stop it first, or use a configuration with another rundir"
            )
        return fd

    def holder(self) -> ProcessId | None:
        """The daemon that runs with this file, or None; reading the file must be allowed.

        It is alive and the lock is held, so the number cannot be one left by a dead daemon.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CoprBackendError(
                f"cannot read the pid file {self.path}: {error.strerror}:"
                " run this as root or as the daemon's user"
            ) from error
        try:
            if not _busy(fd, fcntl.LOCK_SH):
                return None
            process = _named(fd)
        finally:
            os.close(fd)
        if process is None:
            raise CoprBackendError(
                f"the pid file {self.path} is locked, but names no process that runs here:"
                " is the daemon in another container?"
            )
        return process

    def held_by(self, process: ProcessId) -> bool:
        """True when that process itself has the file open: nobody else wrote its number.

        Where its open files may not be seen, the kernel's own check of a signal has to do.
        """
        wanted = self.path.stat()
        try:
            for entry in Path(f"/proc/{process.pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat()
                    if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                        return True
        except PermissionError:
            return os.geteuid() != 0
        except FileNotFoundError:  # it has ended
            return False
        return False

    def check(self) -> None:
        """Raises what `acquire` would raise, and changes nothing."""
        fd = self._lock()
        try:
            if not os.fstat(fd).st_size:  # as we have just made it
                with contextlib.suppress(PermissionError):
                    self.path.unlink(missing_ok=True)
        finally:
            os.close(fd)

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


class Dwelling:
    """The sole right to work in a directory: a flock on the directory itself, which leaves no file
    behind. Who comes with another pid file is still kept out."""

    def __init__(self, path: Path, option: str) -> None:
        self.path, self._option = path, option
        self._fd = -1

    def acquire(self) -> None:
        """Take it; raises AlreadyRunning. Where directories cannot be locked (NFS), all may."""
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for _ in range(_TRIES):  # a child that its killed parent has just forked still has it
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                select.select([], [], [], _RETRY)
            except OSError:
                return
            else:
                return
        holder = _flock_holder(self._fd)
        self.release()
        raise AlreadyRunning(
            f"another copr-backend (pid {holder}) works in {self.path}:"
            f" stop it first, or use a configuration with another {self._option}"
        )

    def release(self) -> None:
        """Give it up; also what a forked child does with its copy: see `PidFile.abandon`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _flock_holder(fd: int) -> str:
    """The pid that took the lock, as far as the kernel tells."""
    inode = os.fstat(fd).st_ino
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1:2] == ["FLOCK"] and words[-3].endswith(f":{inode}"):
                return words[-4]
    return "unknown"


def _is(fd: int, path: Path) -> bool:
    """The open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _busy(fd: int, kind: int) -> bool:
    """Lock the file unless somebody holds it; one who is only having a look is waited for."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            if _process(fd):
                return True
            select.select([], [], [], _RETRY)
    return True


def _process(fd: int) -> ProcessId | None:
    """The living process that the file names."""
    text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    return ProcessId.of(int(text)) if text.isascii() and text.isdigit() else None


def _named(fd: int) -> ProcessId | None:
    """The same, allowing a daemon that has just taken the file the time to write its number."""
    for _ in range(_TRIES):
        if process := _process(fd):
            return process
        select.select([], [], [], _RETRY)
    return None
