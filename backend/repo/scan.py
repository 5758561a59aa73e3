"""What is on disk: marked builds and their packages. The truth; everything else can be remade."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.disk import write_file
from backend.layout import SUCCESS, WITHHELD
from backend.publishset import held


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build that is marked as successful. `stamp` changes when one of its RPMs does."""

    name: str
    stamp: str
    files: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Its RPMs, relative to the repository."""
        return tuple(f"{self.name}/{file}" for file in self.files)


def look(repo: Path, name: str, *, marked: bool = True) -> Build | None:
    """The build directory `name`; None when it is not to be listed. With `marked` off, one that
    has its packages, whatever mark it has."""
    directory = repo / name
    if not listable(name) or not (directory / SUCCESS if marked else directory).exists():
        return None
    found = sorted(_packages(repo / name))
    if not found:
        return None
    text = "".join(f"{file}/{size}/{time}\n" for file, size, time in found)
    stamp = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Build(name=name, stamp=stamp, files=tuple(file for file, _, _ in found))


def mark(directory: Path) -> None:
    """Mark a build as successful; the directory is then to be synced."""
    temporary = f"{directory}/.{SUCCESS}.tmp"
    write_file(temporary, b"done\n")
    os.replace(temporary, f"{directory}/{SUCCESS}")  # noqa: PTH105


def withhold(directory: Path) -> None:
    """Take the mark off, in a way that `give_back` finds."""
    with contextlib.suppress(FileNotFoundError):
        (directory / SUCCESS).rename(directory / WITHHELD)


def give_back(directory: Path) -> None:
    """The mark that was taken off."""
    with contextlib.suppress(FileNotFoundError):
        (directory / WITHHELD).rename(directory / SUCCESS)


def listable(name: str) -> bool:
    """True when a directory of this name may hold packages of a build."""
    return name.isprintable() and name[:1] not in ("", ".", "=") and not set(name) & set("/ ")


def everything(repo: Path) -> dict[str, Build]:
    """All builds that are to be listed, in a stable order; looks into every directory."""
    out = held(repo)
    with os.scandir(repo) as entries:
        names = sorted(e.name for e in entries if e.name not in out and e.is_dir())
    found = {name: look(repo, name) for name in names}
    return {name: build for name, build in found.items() if build}


def _packages(directory: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of each RPM."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(".rpm") and listable(entry.name) and entry.is_file():
                status = entry.stat()
                yield entry.name, status.st_size, status.st_mtime_ns
