"""/etc as a build sees it: of the host an allowlist, of a root all, and a few files of our own.

Where builds run one after the other, in the state directory, it is a directory of copies, which
each is lent, read-only: to make it anew inside takes bubblewrap 4 ms. Elsewhere it does that, and
for the first of them: a directory takes longer to make, and not every root serves again.

    <area>/etc-<key>                         of the build that runs there
    <statedir>/sandbox-etc/<slot>-<key>      until the next one wants it
"""

import contextlib
import os
import shutil
import stat
from pathlib import Path

from backend.builders import etcplan
from backend.builders.etcplan import Plan
from backend.builders.view import Root, Word, literal
from backend.config import Config

#: So many directories are kept for a slot: with and without network, and of different roots.
_KEEP = 8
#: So many keys are known of what has been shown.
_KEYS = 1000
#: So many files bubblewrap is given, each in a descriptor.
_MOST_FILES = 200

_used: set[str] = set()


def show(config: Config, root: Root, *, net: bool, area: Path, slot: int) -> list[Word]:
    """The options of bubblewrap that show it; where there is to be a directory, `area` has it."""
    plan = etcplan.plan(root, net=net)
    name = _lend(config, plan, area, slot)
    lent: list[Word] = ["--ro-bind", f"{{}}/{name}", "/etc"]
    options = lent if name else _inside(plan)
    for piece in plan.pieces:
        if piece.mounted:
            options += ["--ro-bind-try", piece.source, f"/etc/{piece.path}"]
    return options


def _lend(config: Config, plan: Plan, area: Path, slot: int) -> str:
    """The name of the directory in `area`; empty if bubblewrap is to make it."""
    place = area / f"etc-{plan.key}"
    keeps = config.statedir in area.parents
    if keeps and not place.is_dir():
        with contextlib.suppress(OSError):
            (_store(config) / f"{slot}-{plan.key}").rename(place)
    if place.is_dir() and not place.is_symlink():
        return place.name
    place.unlink(missing_ok=True)  # nobody of us made that
    if not (keeps and _serves_again(plan)) and plan.files <= _MOST_FILES:
        return ""
    _make(plan, place)
    if not (keeps and plan.holds()):  # it may be of before and after: for this build only
        return _doom(place).name
    _forget(config, slot)
    return place.name


def _serves_again(plan: Plan) -> bool:
    """The same has been shown before."""
    if plan.key in _used:
        return True
    if len(_used) >= _KEYS:
        _used.clear()
    _used.add(plan.key)
    return False


def _inside(plan: Plan) -> list[Word]:
    options: list[Word] = []
    for piece in plan.pieces:
        place = f"/etc/{piece.path}"
        if stat.S_ISLNK(piece.kind):
            options += ["--symlink", literal(piece.source), place]
        elif stat.S_ISDIR(piece.kind) and not piece.mounted:
            options += ["--dir", place]
        elif not piece.mounted:
            with contextlib.suppress(FileNotFoundError, PermissionError):  # as in `_make`
                options += ["--perms", f"{piece.mode:o}", "--file", piece.content(), place]
    return options


def take_back(config: Config, area: Path, slot: int) -> None:
    """Keep what was lent to a build that has ended; what cannot be kept stays where it is."""
    store = _store(config)
    for path in area.glob("etc-*"):
        try:
            store.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(path)  # the one used longest ago goes first
            path.rename(store / f"{slot}-{path.name.removeprefix('etc-')}")
        except OSError:  # there is one already
            _doom(path)


def forget_all(config: Config) -> None:
    """Remove what is kept: for the start and the end of a farm."""
    shutil.rmtree(_doom(_store(config)), ignore_errors=True)


def _store(config: Config) -> Path:
    return config.statedir / "sandbox-etc"


def _doom(path: Path) -> Path:
    """Give it a name by which nobody lends it: who removes it may be killed half-way."""
    doomed = path.with_name(f"old-{path.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.rename(doomed)
    return doomed


def _forget(config: Config, slot: int) -> None:
    """Remove those of a slot that were used longest ago, and what a killed worker left of them."""
    store = _store(config)
    with contextlib.suppress(FileNotFoundError):  # lent meanwhile, by a command beside the farm
        kept = sorted(store.glob(f"{slot}-*"), key=lambda path: path.stat().st_mtime)
        doomed = [_doom(path) for path in kept[: -_KEEP + 1]]
        for path in {*doomed, *store.glob(f"old-{slot}-*")}:
            shutil.rmtree(path, ignore_errors=True)


def _make(plan: Plan, place: Path) -> None:
    new = place.with_name("new-etc")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for piece in plan.pieces:
        path = new / piece.path
        if stat.S_ISLNK(piece.kind):
            path.symlink_to(piece.source)
            continue
        if stat.S_ISDIR(piece.kind):
            path.mkdir()
        else:
            try:
                path.write_bytes(b"" if piece.mounted else piece.content())
            except (FileNotFoundError, PermissionError):  # removed meanwhile, or closed
                continue
        path.chmod(piece.mode)
    new.chmod(0o755)
    new.rename(place)
