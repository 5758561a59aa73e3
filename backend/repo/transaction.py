"""One run of publishing: the wishes of all who wait become one new state.

Stage, check, sign, swap. What is on disk decides: a build directory with its mark is listed,
others are not. Wishes only say where to look, so that a run costs what changes; now and then,
and in small repositories always, every directory is looked into.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from backend.disk import make_directory, sync_all, write_file
from backend.exceptions import InfrastructureError
from backend.layout import SUCCESS
from backend.repo import (
    chunks,
    codec,
    describe,
    manifest,
    repomd,
    scan,
    sqlite,
    states,
    swap,
    tickets,
)
from backend.repo.chunks import Made, Package
from backend.repo.compare import SCAN_BELOW, Change, Order, compare
from backend.repo.facts import Odd
from backend.repo.manifest import Manifest
from backend.repo.repomd import Extra
from backend.repo.states import PRIVATE, State
from backend.repo.tickets import Answer, Taken
from backend.repo.writer import LOOSE, Damaged, Source, Writer, Written

_TMP = "tmp"


def run(order: Order, queue: Path) -> list[str]:
    """Fulfil all wishes for the place; only for the holder of the lock. Returns notes for people.

    Raises InfrastructureError, OSError or ToolError; the wishes then stay.
    """
    _sweep(order)
    taken = [] if order.choose else tickets.take(queue, _place(order))
    marked = _mark(order.repo, taken)
    names = {name for each in taken for name in each.wish.names}
    everything = any(each.wish.everything for each in taken)
    notes = publish(order, names, everything=everything, marked=marked)
    if len(marked) > 1:
        notes.append(f"{len(marked)} builds are published in one run")
    for each in taken:
        wish = each.wish
        granted = not wish.mark or wish.mark in marked
        own = tuple(note for note in notes if not wish.mark or wish.mark in note)
        each.settle(Answer(granted=granted, notes=own))
    return notes


def _place(order: Order) -> str:
    return "" if order.place == order.repo else order.place.name


def _sweep(order: Order) -> None:
    """Remove what killed publishers left; the lock says that none of them is alive."""
    for parent in {order.repo / PRIVATE, order.place / PRIVATE}:
        make_directory(parent)
        with os.scandir(parent) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(swap.PREFIX)]
        for name in names:
            shutil.rmtree(parent / name, ignore_errors=True)
        _clear(parent / _TMP)
    tickets.sweep(order.repo / PRIVATE / tickets.QUEUE)
    states.drop_stillborn(order.place)


def _clear(directory: Path) -> None:
    """Remove what is in it; it stays, as making and removing it each time costs a disk more."""
    with contextlib.suppress(FileNotFoundError):
        for left in directory.iterdir():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _mark(repo: Path, taken: Sequence[Taken]) -> set[str]:
    """Give marks and take them, as the living want it; returns the builds that have theirs."""
    drop = {name for each in taken if each.alive for name in each.wish.drop}
    for name in drop:
        (repo / name / SUCCESS).unlink(missing_ok=True)
    wanted = {each.wish.mark for each in taken if each.alive} - drop - {""}
    there = sorted(name for name in wanted if (repo / name).is_dir())
    for name in there:
        scan.mark(repo / name)
    return set(there)


def publish(
    order: Order, names: Collection[str], *, everything: bool, marked: Collection[str] = ()
) -> list[str]:
    """Make the metadata in `place` agree with what is on disk; looks at the builds `names` for
    sure, `marked` are those whose mark is new. Only for the holder of the lock. Returns notes
    for people."""
    current = None if order.fresh else states.live(order.place)
    before = current.manifest() if current else None
    packing = codec.named(order.compression)
    if before and not (
        before.head.baseurl == order.baseurl
        and all(name.endswith(packing.suffix) for name in before.head.names)
    ):
        before = None
    change = compare(order, before, names, everything=everything)
    if order.signer and change.add:
        paths = [order.repo / path for build in change.add for path in build.paths]
        if order.signer.sign_rpms(paths):
            again = [scan.look(order.repo, build.name) for build in change.add]
            change.add = [build for build in again if build]
    if current and before and not (everything and order.signer) and _same(order, current, change):
        sync_all(order.repo / build for build in marked)
        return []
    try:
        return _commit(order, current, change, marked)
    except Damaged:
        change = compare(order, None, (), everything=True)
        return _commit(order, None, change, marked)


def _same(order: Order, current: State, change: Change) -> bool:
    """True when readers have all that already."""
    before = change.before
    if change.add or change.cut or not before:
        return False
    if before.head.extras != repomd.stamps(order.repo):
        return False
    signature, live = current.path / repomd.SIGNATURE, order.place / "repodata"
    if bool(order.signer) != signature.exists():
        return False
    if order.signer:
        shown = live / repomd.SIGNATURE
        return shown.exists() and shown.read_bytes() == signature.read_bytes()
    return all((live / name).exists() for name in before.head.names)


def _commit(
    order: Order, current: State | None, change: Change, marked: Collection[str]
) -> list[str]:
    """Make the next state and put it where readers look."""
    work = order.repo / PRIVATE / _TMP
    make_directory(work)
    try:
        stage = work / "state"
        stage.mkdir()
        made, notes = _describe(order, change, work)
        written, new = _write(order, current, change, made, stage)
        now = int(time.time())
        extras = _extras(order, change, work)
        if order.sqlite:
            extras += sqlite.make(written, work, now=now, timeout=order.timeout)
        for extra in extras:
            if not (stage / extra.path.name).exists():
                states.link(extra.path, stage / extra.path.name)
        _complete(order, stage, repomd.render(written, extras, now))
        head = new.with_head(
            baseurl=order.baseurl, scanned=change.scanned, extras=repomd.stamps(order.repo)
        )
        write_file(stage / manifest.FILE, head.dump())
        states.remember(order.place)
        target = states.following(order.place)
        stage.rename(target)
        swap.go_live(order.place, State(path=target), [order.repo / build for build in marked])
    finally:
        _clear(work)
    for path in states.trim(order.place, order.keep):
        path.unlink(missing_ok=True)
    return notes


def _describe(
    order: Order, change: Change, work: Path
) -> tuple[dict[str, list[Package]], list[str]]:
    """Have the builds that come described; their packages, and notes for people."""
    found: dict[str, list[Package]] = {build.name: [] for build in change.add}
    paths = [path for build in change.add for path in build.paths]
    if not paths:
        return found, []
    asked, complaints = set(paths), ""
    if not order.fresh and len(paths) <= describe.FEW:
        for path in paths:
            with contextlib.suppress(Odd, FileNotFoundError):
                package = describe.package(order.repo, path, order.baseurl)
                found[package.build].append(package)
                asked.remove(path)
    if asked:
        made = _made(order, change, work, [path for path in paths if path in asked])
        complaints = made.complaints
        for package in made:
            if package.path not in asked:
                raise InfrastructureError(f"createrepo_c described {package.path}, unasked")
            found[package.build].append(package)
    notes = _clashes(change)
    if complaints:
        notes.insert(0, f"createrepo_c left packages out of {order.repo}: {complaints}")
    return found, notes


def _made(order: Order, change: Change, work: Path, paths: Sequence[str]) -> Made:
    """What createrepo_c says; it may use the live metadata where there is no manifest of them."""
    update = None
    if not change.before and not order.fresh and (order.place / "repodata" / repomd.NAME).exists():
        update = order.place
    return chunks.make(
        order.repo, work, paths, baseurl=order.baseurl, update=update, timeout=order.timeout
    )


def _clashes(change: Change) -> list[str]:
    """A package of the same name, version and architecture in another build: readers get either."""
    if not change.before or len(change.add) > SCAN_BELOW:
        return []
    return [
        f"{build.name}: {file} is in {', '.join(others[:3])}, too: readers get either"
        for build in change.add
        for file in build.files
        if (others := [
            name for name in change.before.holders(file, build.name) if name not in change.cut
        ])
    ]  # fmt: skip


def _write(
    order: Order, current: State | None, change: Change, made: dict[str, list[Package]], stage: Path
) -> tuple[list[Written], Manifest]:
    before = change.before
    packages = sum(map(len, made.values()))
    if before:
        packages += before.head.packages - sum(change.cut.values())
    with Writer(stage, packages, codec.named(order.compression)) as writer:
        if current and before:
            with Source(current.path, before) as source:
                if change.cut or before.head.loose >= LOOSE:
                    writer.keep(source, change.cut.keys())
                else:
                    writer.keep_all(source)
        for build in change.add:
            if made[build.name]:
                writer.add(build, made[build.name])
        return writer.finish()


def _extras(order: Order, change: Change, work: Path) -> list[Extra]:
    """The further metadata files."""
    known = change.before.head.extras if change.before else None
    return repomd.extras(order.repo, order.place / "repodata", work, known)


def _complete(order: Order, stage: Path, content: bytes) -> None:
    """repomd.xml, and its signature."""
    path = stage / repomd.NAME
    write_file(path, content)
    if order.signer:
        write_file(stage / repomd.SIGNATURE, order.signer.sign_metadata(path))
