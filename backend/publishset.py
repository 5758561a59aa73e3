"""Several results of a repository that become visible at one instant, or not at all.

A file `.repo/sets/<name>` in the repository names result directories that are put in place one
by one; while it is there no publisher lists them. Removing it makes all of them count.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from backend.disk import make_directory, write_file

_SETS = ".repo/sets"


def hold(repo: Path, name: str, results: Iterable[str]) -> None:
    """Begin the set `name`; one that is begun keeps its results."""
    path = repo / _SETS / name
    if path.exists():
        return
    make_directory(path.parent)
    temporary = path.with_name(f".new-{path.name}")
    write_file(temporary, "".join(f"{result}\n" for result in results).encode())
    temporary.replace(path)


def release(repo: Path, name: str) -> None:
    """All of it counts from now on; to be called by who publishes."""
    (repo / _SETS / name).unlink(missing_ok=True)


def held(repo: Path) -> frozenset[str]:
    """The results that do not count yet."""
    found: set[str] = set()
    for path in (repo / _SETS).glob("[!.]*"):
        with contextlib.suppress(FileNotFoundError):  # released meanwhile
            found.update(path.read_text("utf-8").split())
    return frozenset(found)
