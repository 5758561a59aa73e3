"""The wishes of those who publish one repository: whoever holds the lock fulfils all of them.

A ticket is a file that its owner keeps locked (flock) while it waits. So others know whether it
still lives: what a living owner wants is done; a dead one's ticket only says where to look, and
what is on disk counts. Taking a ticket is a rename: who is canceled before that gets its ticket
back, later it is too late. A fulfilled ticket is removed; its owner, who has it open, sees
that, and reads the answer from it.
"""

import contextlib
import fcntl
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from backend.disk import append, make_directory

QUEUE = "queue"
_NEW, _TAKEN = "new-", "taken-"
#: A ticket is complete after so many seconds, or never.
_UNBORN = 60.0
_count = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody wants published in `place` ("" or "devel").

    `mark`: a build that becomes successful. `drop`: builds that lose their mark. `look`: builds
    to look at. `everything`: look at all.
    """

    who: str = ""
    place: str = ""
    mark: str = ""
    drop: tuple[str, ...] = ()
    look: tuple[str, ...] = ()
    everything: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The builds that are named."""
        return frozenset({self.mark, *self.drop, *self.look} - {""})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a wish ended: `granted`, or refused because the build is to be dropped."""

    granted: bool
    notes: tuple[str, ...] = ()


class Ticket:
    """A wish that waits; a context manager.

    Left with an error, a ticket stays so that the next publisher looks there; only a build that
    has no mark yet, and that nobody has taken, gets its ticket back. With `alone` nobody sees it
    before `share`.
    """

    def __init__(self, queue: Path, wish: Wish, *, alone: bool = False) -> None:
        make_directory(queue)
        self._wish = wish
        name = f"{time.time_ns():020}-{os.getpid()}-{next(_count)}"
        self._path, self._shared = queue / f".{name}", queue / f"{_NEW}{name}"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            append(self._fd, json.dumps(asdict(wish)).encode() + b"\n")
            if not alone:
                self.share()
        except BaseException:
            os.close(self._fd)
            raise

    def share(self) -> None:
        """Let whoever publishes see it."""
        self._path = self._path.rename(self._shared)

    @property
    def answer(self) -> Answer | None:
        """None while it waits."""
        if os.fstat(self._fd).st_nlink:
            return None
        lines = os.pread(self._fd, 1024**2, 0).splitlines()
        if len(lines) < 2:
            return Answer(granted=False)
        words = json.loads(lines[1])
        return Answer(granted=words["granted"], notes=tuple(words["notes"]))

    @property
    def taken(self) -> bool:
        """True when somebody has begun to fulfil it."""
        return not self._path.exists()

    def take_back(self) -> bool:
        """Give the wish up; False when it is too late."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or self._wish.mark:
            with contextlib.suppress(OSError):
                self.take_back()
        os.close(self._fd)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A wish in the hands of whoever publishes; `alive` when its owner still waits."""

    path: Path
    wish: Wish
    alive: bool

    def settle(self, answer: Answer) -> None:
        """Tell the owner."""
        with contextlib.suppress(FileNotFoundError):
            if self.alive:
                with self.path.open("ab") as file:
                    file.write(json.dumps(asdict(answer)).encode() + b"\n")
            self.path.unlink()


def waiting(queue: Path) -> list[tuple[Wish, float]]:
    """Who waits, and since when (seconds since the epoch), the first one first."""
    found = []
    for path in _files(queue, _TAKEN, _NEW):
        wish = _read(path)
        if wish:
            found.append((wish, int(path.name.partition("-")[2][:20]) / 1e9))
    return sorted(found, key=lambda pair: pair[1])


def take(queue: Path, place: str) -> list[Taken]:
    """All wishes for one place; only for the holder of the lock."""
    found = []
    for path in _files(queue, _TAKEN, _NEW):
        wish = _read(path)
        if wish is None or wish.place != place:
            continue
        if path.name.startswith(_NEW):
            target = path.with_name(_TAKEN + path.name.removeprefix(_NEW))
            try:
                path.rename(target)
            except FileNotFoundError:
                continue  # its owner has taken it back
            path = target  # noqa: PLW2901 - the same file
        found.append(Taken(path=path, wish=wish, alive=_held(path)))
    return found


def sweep(queue: Path) -> None:
    """Remove what owners left that were killed before their wish was complete."""
    for path in _files(queue, "."):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _UNBORN:
                path.unlink()


def _files(queue: Path, *prefixes: str) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(queue.iterdir()):
            if path.name.startswith(prefixes):
                yield path


def _read(path: Path) -> Wish | None:
    try:
        words: Any = json.loads(path.read_bytes().partition(b"\n")[0])
        lists = {key: tuple(value) for key, value in words.items() if isinstance(value, list)}
        return Wish(**{**words, **lists})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
