"""Who publishes, who waits for a repository, and where it fails: small files for people to see.

Each publisher has a file in one directory, which it keeps locked (flock) as long as it lives; a
failure leaves one for its repository, until somebody succeeds there. Nothing depends on them.
"""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from backend.disk import make_directory, write_file
from backend.exceptions import InfrastructureError, ToolError

_FAILED = "failed-"
_count = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """`repository` is owner/project/chroot; `since` when it began to wait, or to publish (seconds
    since the epoch)."""

    who: str
    repository: str
    since: float
    publishes: bool = False


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The last try to publish that repository, by `who`."""

    repository: str
    who: str
    why: str
    when: float


@dataclass(frozen=True, kw_only=True)
class Board:
    """What is there to be seen; the oldest first."""

    publishers: tuple[Publisher, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def publishing(self) -> int:
        """Repositories that are being published."""
        return sum(one.publishes for one in self.publishers)

    @property
    def waiting(self) -> int:
        """Publishers who wait for another one."""
        return len(self.publishers) - self.publishing


class Note:
    """One publisher's file; whatever the disk says about it is not its trouble."""

    def __init__(self, board: Path | None, who: str, place: Path) -> None:
        self._board, self._who, self._fd = board, who, -1
        self._repository = "/".join(place.parts[-4:] if place.name == "devel" else place.parts[-3:])
        digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:24]
        self._failed = board / f"{_FAILED}{digest}" if board else None
        self._path = board / f"{os.getpid()}-{next(_count)}" if board else Path()
        if board:
            with contextlib.suppress(OSError):
                make_directory(board)
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._fd = os.open(self._path, flags, 0o644)
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._write(publishes=False)

    def begins(self) -> None:
        """It has waited for long enough."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._write(publishes=True)

    def _write(self, *, publishes: bool) -> None:
        line = Publisher(
            who=self._who, repository=self._repository, since=time.time(), publishes=publishes
        )
        # One line; what a longer one leaves behind it is not read.
        os.pwrite(self._fd, json.dumps(asdict(line)).encode() + b"\n", 0)

    def ends(self, why: str = "") -> None:
        """`why` it has failed; empty: it has not."""
        if self._failed is None:
            return
        with contextlib.suppress(OSError):
            if why:
                failure = Failure(
                    repository=self._repository, who=self._who, why=why, when=time.time()
                )
                write_file(self._failed, json.dumps(asdict(failure)).encode() + b"\n")
            else:
                self._failed.unlink(missing_ok=True)

    def close(self) -> None:
        """Take it down."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._fd)
            self._fd = -1


@contextlib.contextmanager
def noted(board: Path | None, who: str, place: Path) -> Iterator[Note]:
    """Be on the board meanwhile (None: not), and leave there how it has failed."""
    note = Note(board, who, place)
    try:
        yield note
        note.ends()
    except (InfrastructureError, ToolError, OSError) as error:
        note.ends(" ".join(str(error).split())[:500] or type(error).__name__)
        raise
    finally:
        note.close()


def read(board: Path) -> Board:
    """What is on it; the files of the dead are removed."""
    publishers, failures = [], []
    try:
        paths = sorted(board.iterdir())
    except OSError:
        return Board()
    for path in paths:
        with contextlib.suppress(OSError, ValueError, TypeError):
            failed = path.name.startswith(_FAILED)
            if not failed and not _alive(path):
                continue
            words = json.loads(path.read_bytes().partition(b"\n")[0])
            if failed:
                failures.append(Failure(**words))
            else:
                publishers.append(Publisher(**words))
    return Board(
        publishers=tuple(sorted(publishers, key=lambda one: (not one.publishes, one.since))),
        failures=tuple(sorted(failures, key=lambda one: one.when)),
    )


def _alive(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    path.unlink(missing_ok=True)
    return False
