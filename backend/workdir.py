"""The work directory of a slot: one build at a time has it, and leaves it empty.

    <statedir>/work/<slot>/             of the build that runs there
    <statedir>/work/<slot>/<task>-…/    the same, while something that a build left is in the way

Each piece in it is of whom it was made for, and is removed by that.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from backend import disk
from backend.builders import Builder
from backend.builders import script as scripts
from backend.config import Config
from backend.exceptions import CoprBackendError

#: Where scripts make the sources; all other directories are the builder's.
SOURCES = "sources"
PIECES = frozenset({SOURCES, "build", "inspect", "signed"})


def place(config: Config, slot: int) -> Path:
    """The work directory of that slot, which may not exist."""
    return config.statedir / "work" / str(slot)


@contextlib.contextmanager
def lent(config: Config, builder: Builder, slot: int, task_id: str) -> Iterator[Path]:
    """An empty private directory for one build; what the build leaves there is removed.

    Raises CoprBackendError or OSError when that is not possible.
    """
    path = top = place(config, slot)
    try:
        free = not os.listdir(top)  # noqa: PTH208  (a Path takes longer than the list)
    except FileNotFoundError:
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
        disk.spread(top)
        free = True
    if not free:
        path = Path(tempfile.mkdtemp(prefix=f"{task_id}-", dir=top))
    try:
        yield path
    finally:
        _empty(config, builder, slot, path)
        if not free:
            path.rmdir()


def sweep(config: Config, builder: Builder, slot: int, say: Callable[[str], None]) -> None:
    """Remove what killed workers of this slot left behind; what cannot be is only in the way."""
    top = place(config, slot)
    try:
        found = list(top.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:  # the builds that need it tell, too, and are tried again
        say(f"{top} cannot be swept: {error.strerror}; correct its owner and mode")
        return
    for left in found:
        try:
            if left.name in PIECES or not left.is_dir() or left.is_symlink():
                _remove(config, builder, slot, left)
            else:
                _empty(config, builder, slot, left)
                left.rmdir()
        except (CoprBackendError, OSError) as error:
            say(f"{left} could not be removed: {error}")


def _empty(config: Config, builder: Builder, slot: int, path: Path) -> None:
    for name in os.listdir(path):  # noqa: PTH208
        _remove(config, builder, slot, path / name)


def _remove(config: Config, builder: Builder, slot: int, piece: Path) -> None:
    with contextlib.suppress(OSError):
        piece.rmdir()  # nothing in it that would need more
        return
    if piece.name == SOURCES:
        scripts.remove(config, piece, slot)
    elif piece.is_dir() and not piece.is_symlink():
        builder.cleanup(piece, slot)
    else:
        piece.unlink()
