"""Puts a state where readers look, at one instant.

Unsigned, that instant is the rename of repomd.xml: files with the content's hash in their names
are there before. A signature is a second file, and no two renames are one: so a signed state is
a new directory, which the kernel exchanges for the live one (renameat2, RENAME_EXCHANGE). A
file system that cannot do that gets the signature first and repomd.xml right after it; the
publisher that is killed between the two is repaired by the next.
"""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from backend.disk import DIR_MODE, make_directory, sync, sync_all
from backend.repo import repomd
from backend.repo.states import PRIVATE, State, link

#: Name of a private directory that is going to be the live one.
PREFIX = "swap-"
_AT_FDCWD, _EXCHANGE = -100, 2


def go_live(place: Path, state: State, before: Iterable[Path] = ()) -> None:
    """Have readers of `place` get this state; readers of the one before keep its files.

    It is on disk before, and so is what `before` names: builds that it lists.
    """
    live = place / "repodata"
    make_directory(live)
    for path in state.files():
        _bring(path, live)
    signature = state.path / repomd.SIGNATURE
    signed = [signature] if signature.exists() else []
    sync_all([*before, *state.files(), state.path / repomd.NAME, *signed, live])
    if signed and _exchange(place, state):
        return
    if signature.exists():
        _replace(signature, live)
    _replace(state.path / repomd.NAME, live)
    if not signature.exists():
        (live / repomd.SIGNATURE).unlink(missing_ok=True)
    sync(live)


def _bring(path: Path, live: Path) -> None:
    target = live / path.name
    try:
        if target.samefile(path):
            return
    except FileNotFoundError:
        link(path, target)
        return
    _replace(path, live)  # of the same name, but perhaps damaged


def _replace(path: Path, live: Path) -> None:
    temporary = live / f".{path.name}.tmp"
    temporary.unlink(missing_ok=True)
    link(path, temporary)
    temporary.replace(live / path.name)
    temporary.unlink(missing_ok=True)  # two names of one file: then a rename does nothing


def _exchange(place: Path, state: State) -> bool:
    live = place / "repodata"
    private = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place / PRIVATE))
    try:
        private.chmod(DIR_MODE)
        for path in live.iterdir():
            if path.name not in (repomd.NAME, repomd.SIGNATURE) and path.is_file():
                link(path, private / path.name)
        for name in (repomd.NAME, repomd.SIGNATURE):
            link(state.path / name, private / name)
        sync(private)
        done = exchange(private, live)
        sync(place)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return done


def exchange(one: Path, other: Path) -> bool:
    """Have two names change places, at one instant; False where that cannot be done."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE) == 0)
