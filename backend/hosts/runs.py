"""Builds on a host as they lie on its disk: one private directory for each.

lock         held by whoever is responsible: the agent at first, the guard then
srpm/NAME    the source package
work/        the builder's work directory
log          what the build printed
outcome.json how it ended; there once all of the log is
spare        becomes outcome.json where the disk is full
lease        touched whenever the worker asks for the build
control      FIFO to the guard: CANCEL, or DONE when nobody needs the build any more
wake         FIFO to the agent: there is more to send
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from backend.builders import Builder
from backend.exceptions import CoprBackendError

CANCEL, DONE = b"c", b"d"
#: Bytes that are kept for the outcome.
SPARE = 16384
_FARM = re.compile(r"[a-z0-9]{1,40}")
_NAME = re.compile(r"[a-z0-9]{1,40}-[a-z0-9]{1,40}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~^%-]{0,250}")


class BadName(ValueError):
    """A name from the other side that is not of the kind that we make."""


@dataclass(frozen=True)
class Run:
    """One build's directory. Its name is `<farm>-<anything>`."""

    path: Path

    @classmethod
    def named(cls, base: Path, name: str) -> Self:
        """The run of that name, whether it exists or not; raises BadName."""
        if not _NAME.fullmatch(name):
            raise BadName(f"{name!a} is no name of a run")
        return cls(base / "runs" / name)

    @property
    def farm(self) -> str:
        """Whose build it is."""
        return self.path.name.partition("-")[0]

    def make(self, source: str) -> tuple[int, int]:
        """Create it; descriptors of the lock, which is held, and of the empty source file."""
        if not _FILE_NAME.fullmatch(source):
            raise BadName(f"{source!a} is no name of a source package")
        self.path.mkdir(mode=0o700, parents=True)
        lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ("control", "wake"):
            os.mkfifo(self.path / name, 0o600)
        (self.path / "lease").touch()
        (self.path / "log").touch()
        (self.path / "srpm").mkdir(mode=0o700)
        (self.path / "work").mkdir(mode=0o700)
        with (self.path / "spare").open("wb") as spare:
            os.posix_fallocate(spare.fileno(), 0, SPARE)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        return lock, os.open(self.path / "srpm" / source, flags, 0o600)

    @property
    def source(self) -> Path:
        """The source package."""
        (path,) = (self.path / "srpm").iterdir()
        return path

    @property
    def work(self) -> Path:
        """The builder's work directory."""
        return self.path / "work"

    def fifo(self, name: str) -> int:
        """A descriptor of `control` or `wake` that never blocks, for both directions."""
        return os.open(self.path / name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def tell(self, name: str, word: bytes) -> None:
        """Write into a FIFO; nothing happens if the run is gone or nobody reads it."""
        with contextlib.suppress(OSError):
            fd = self.fifo(name)
            try:
                os.write(fd, word)
            finally:
                os.close(fd)

    def renew(self) -> None:
        """Somebody still wants it."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path / "lease")

    def renewed(self) -> int:
        """When that was said last, in nanoseconds of the host's clock; 0 if it is gone."""
        try:
            return (self.path / "lease").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def silence(self) -> float:
        """Seconds since that was said."""
        return time.time() - self.renewed() / 1e9

    @contextlib.contextmanager
    def abandoned(self) -> Iterator[bool]:
        """Whether nobody is responsible for it; if so, we are within the block."""
        try:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False  # just being made, or being removed
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield (self.path / "lock").exists()
        except BlockingIOError:
            yield False
        finally:
            os.close(fd)

    def remove(self, builder: Builder, slot: int) -> None:
        """Remove what the build left, by whom it was made for, then the rest. The lock goes last:
        what cannot be removed now is found by the next sweep. The lease goes first: it does not
        build any more.

        Raises CoprBackendError or OSError.
        """
        (self.path / "lease").unlink(missing_ok=True)
        if self.work.exists():
            builder.cleanup(self.work, slot)
        for piece in self.path.iterdir():
            if piece.is_dir() and not piece.is_symlink():
                shutil.rmtree(piece)
            elif piece.name != "lock":
                piece.unlink()
        shutil.rmtree(self.path)


def all_runs(base: Path) -> list[Run]:
    """Every run on this host, of any farm; the one that was asked for longest ago first."""
    top = base / "runs"
    if not top.is_dir():
        return []
    found = [Run(path) for path in top.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(found, key=Run.renewed)


@contextlib.contextmanager
def room(base: Path) -> Iterator[None]:
    """Within the block nobody else makes a run, or looks whether one is abandoned. Not for long."""
    fd = os.open(base / "room", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def claim(base: Path, farm: str, name: str, others: Container[str]) -> str:
    """The name by which the farm calls this machine: `name`, unless it is called by one of
    `others` already since it was started. An image of the disk may carry what was noted on
    another machine: hence the boot.

    Raises BadName, OSError.
    """
    if not _FARM.fullmatch(farm):
        raise BadName(f"{farm!a} is no name of a farm")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    path = base / f"name-{farm}"
    with room(base):
        noted = path.read_text("utf-8", "replace") if path.exists() else ""
        when, _, known = noted.strip().partition(" ")
        if when == boot and known in others:
            return known
        path.write_text(f"{boot} {name}\n", "utf-8")
    return name


def building(base: Path, farm: str) -> list[Run]:
    """The farm's runs that build, or are about to, as `all_runs`. For use in `room`.

    One that is over, and only waits to be fetched or removed, takes nobody's place.
    """
    found = []
    for run in all_runs(base):
        with run.abandoned() as dead:
            over = dead or (run.path / "outcome.json").exists()
            if run.farm == farm and not over and run.renewed():
                found.append(run)
    return found


def sweep(base: Path, builder: Builder) -> tuple[int, list[str]]:
    """Remove what died: with the host, or by a kill. How many runs, and what could not go."""
    count, problems = 0, []
    for run in all_runs(base):
        with contextlib.ExitStack() as stack:
            with room(base):  # one that is just being made looks like one that died
                ours = stack.enter_context(run.abandoned())
            if not ours:
                continue
            try:
                run.remove(builder, 0)
                count += 1
            except (CoprBackendError, OSError) as error:
                problems.append(f"{run.path}: {error}")
    return count, problems
