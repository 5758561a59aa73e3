"""The states of a repository that were published: each is a directory with all its metadata.

Its files are hard links to those that readers get; so a state costs nothing until it is the
last that has them. The live state is the one whose repomd.xml readers get.
"""

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from backend.disk import make_directory
from backend.repo import manifest, repomd
from backend.repo.manifest import Manifest

#: Directory for everything private of a repository.
PRIVATE = ".repo"
_STATES = "states"
#: Files of a state stay for readers in the middle of a download for so long, in seconds …
GRACE = 300.0
#: … as long as they do not fill the disk: in bytes, and in states.
GRACE_BYTES, GRACE_STATES = 1024**3, 200


@dataclass(frozen=True, kw_only=True)
class State:
    """One state; `number` grows."""

    path: Path

    @property
    def number(self) -> int:
        """Later states have larger ones."""
        return int(self.path.name)

    @property
    def made(self) -> float:
        """When it was published first, in seconds."""
        return self.path.stat().st_mtime

    def manifest(self) -> Manifest | None:
        """What it consists of; None for metadata that was not made here."""
        return manifest.load(self.path)

    def files(self) -> list[Path]:
        """What readers need of it, repomd.xml left out."""
        own = {manifest.FILE, repomd.NAME, repomd.SIGNATURE}
        return sorted(path for path in self.path.iterdir() if path.name not in own)

    @property
    def content(self) -> bytes:
        """Its repomd.xml."""
        return (self.path / repomd.NAME).read_bytes()


def directory(place: Path) -> Path:
    """Where the states of the metadata in `place` are."""
    return place / PRIVATE / _STATES


def known(place: Path) -> list[State]:
    """All states, the oldest first; states that were never live are among them."""
    base = directory(place)
    with contextlib.suppress(FileNotFoundError):
        with os.scandir(base) as entries:
            names = sorted(entry.name for entry in entries if entry.name.isdecimal())
        return [State(path=base / name) for name in names]
    return []


def live(place: Path) -> State | None:
    """The state that readers get; None when it was not made here."""
    try:
        content = (place / "repodata" / repomd.NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    for state in reversed(known(place)):
        with contextlib.suppress(OSError):  # gone meanwhile, when nobody keeps us alone
            if state.content == content:
                return state
    return None


def following(place: Path) -> Path:
    """The directory of the next state, which does not exist."""
    there = known(place)
    make_directory(directory(place))
    return directory(place) / f"{there[-1].number + 1 if there else 1:08}"


def remember(place: Path) -> None:
    """Make a state of live metadata that was not made here: for readers in the middle of it."""
    repodata = place / "repodata"
    names = repomd.referenced(repodata / repomd.NAME)
    if not names or live(place):
        return
    target = following(place)
    part = target.with_name(f".{target.name}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            link(repodata / name, part / name)
    for name in (repomd.NAME, repomd.SIGNATURE):
        with contextlib.suppress(FileNotFoundError):
            link(repodata / name, part / name)
    part.rename(target)


def link(source: Path, target: Path) -> None:
    """One more name for a file, or a copy where there are no links."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)


def drop_stillborn(place: Path) -> None:
    """Remove states that are newer than the live one, whose publisher died before, and the files
    that it had brought already."""
    now = live(place)
    stillborn = [state for state in known(place) if now and state.number > now.number]
    for state in stillborn:
        shutil.rmtree(state.path, ignore_errors=True)
    if stillborn:
        for path in strays(place):
            path.unlink(missing_ok=True)


def strays(place: Path) -> list[Path]:
    """Files beside the live metadata that belong to no state."""
    repodata = place / "repodata"
    needed = {path.name for state in known(place) for path in state.path.iterdir()}
    needed |= repomd.referenced(repodata / repomd.NAME) | {repomd.NAME, repomd.SIGNATURE}
    there = repodata.iterdir() if repodata.is_dir() else ()
    return [path for path in there if path.name not in needed and not path.is_dir()]


def trim(place: Path, keep: int) -> list[Path]:
    """Remove states that nobody needs any more; returns the files that readers lose with them."""
    there = known(place)
    current = live(place)
    if current is None:
        return []
    size = sum(path.stat().st_size for path in current.files())
    most = max(keep, 2, min(GRACE_STATES, GRACE_BYTES // max(1, size)))
    oldest = time.time() - GRACE
    going: list[State] = []
    for state, successor in pairwise(there):
        behind = len(there) - 1 - len(going)  # so many are newer
        if behind < max(keep, 2) or (behind < most and successor.made >= oldest):
            break  # and so stay all after it
        going.append(state)
    if not going:
        return []
    lost = {path.name for state in going for path in state.files()}
    for state in going:
        shutil.rmtree(state.path, ignore_errors=True)
    if not lost:
        return []
    gone = {state.number for state in going}
    needed = {p.name for state in there if state.number not in gone for p in state.path.iterdir()}
    return [place / "repodata" / name for name in sorted(lost - needed)]
