"""What a run of publishing is to change: the live state compared with what is on disk."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from backend.exceptions import InfrastructureError
from backend.publishset import held
from backend.repo import chunks, codec, scan, states
from backend.repo.manifest import Entry, Manifest
from backend.repo.scan import Build

#: Every directory is looked into after so many seconds, and where so few builds are listed.
SCAN_EVERY, SCAN_BELOW = 3600.0, 50

#: Gets the result directories that the metadata lists now, returns those that it may list.
Choose = Callable[[frozenset[str]], Collection[str]]


class Signer(Protocol):
    """Signs what one project publishes; each call is safe to repeat."""

    def sign_rpms(self, paths: Sequence[Path]) -> int:
        """Sign the packages that are not signed yet, in place; how many those were."""

    def sign_metadata(self, repomd: Path) -> bytes:
        """The detached signature, in ASCII armour."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is published where: `repo` has the packages, `place` the metadata.

    `fresh`: believe nothing that is there, describe every package again.
    """

    repo: Path
    place: Path
    baseurl: str = ""
    choose: Choose | None = None
    fresh: bool = False
    keep: int = 3
    compression: str = "gz"
    sqlite: bool = False
    signer: Signer | None = None
    board: Path | None = None
    timeout: float = 600.0


@dataclass(kw_only=True)
class Change:
    """From the live state (None: unknown) to the next: builds that go, builds that come."""

    before: Manifest | None
    cut: dict[str, int] = field(default_factory=dict)  # name → number of packages
    add: list[Build] = field(default_factory=list)
    scanned: float = 0.0


def compare(
    order: Order, before: Manifest | None, names: Collection[str], *, everything: bool
) -> Change:
    """What changes; looks into the named directories only, where that is enough."""
    now = time.time()
    few = before is None or before.body.count(b"\n") < SCAN_BELOW
    lately = before is not None and 0 <= now - before.head.scanned < SCAN_EVERY
    if before and lately and not (everything or order.choose or few):
        change = Change(before=before, scanned=before.head.scanned)
        out = held(order.repo)
        for name in sorted(names):
            build = None if name in out else scan.look(order.repo, name)
            _note(change, name, before.find(name), build)
        return change
    found = scan.everything(order.repo)
    if order.choose:
        live = before.names() if before else listed(order.place)
        chosen = frozenset(order.choose(live))
        found = {name: build for name, build in found.items() if name in chosen}
    change = Change(before=before, scanned=now)
    known = {entry.name: entry for entry in before.entries()} if before else {}
    for name in sorted({*found, *known}):
        _note(change, name, known.get(name), found.get(name))
    return change


def _note(change: Change, name: str, old: Entry | None, build: Build | None) -> None:
    if old and build and old.stamp == build.stamp:
        return
    if old:
        change.cut[name] = len(old.files)
    if build:
        change.add.append(build)


def listed(place: Path) -> frozenset[str]:
    """The builds that the metadata in `place` lists; none if it cannot be read."""
    for state in filter(None, [states.live(place)]):
        if made := state.manifest():
            return made.names()
    try:
        return frozenset(package.build for package in chunks.read(place / "repodata"))
    except (InfrastructureError, OSError, EOFError, *codec.BROKEN):
        return frozenset()
