"""Going back to a state that was published before, in one step.

Its builds become the marked ones, the others lose their mark until another rollback gives it
back; so what is on disk stays the truth. Where all its packages are still there, readers get
exactly the metadata that they had then.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from backend.disk import make_directory
from backend.exceptions import CoprBackendError
from backend.layout import DEVEL, SUCCESS
from backend.repo import compare, manifest, repomd, scan, states, swap, transaction
from backend.repo.compare import Choose, Order
from backend.repo.manifest import Manifest
from backend.repo.states import PRIVATE, State
from backend.repo.tickets import Ticket, Wish


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a rollback did: which state is live, which of its builds are not there any more."""

    state: int
    builds: int
    gone: tuple[str, ...]


def choose(place: Path, number: int | None) -> State:
    """The state of this number, or the one before the live one. Raises CoprBackendError."""
    there, now = states.known(place), states.live(place)
    if number is None:
        content = now.content if now else b""
        older = [s for s in there if now and s.number < now.number and s.content != content]
        if not older:
            raise CoprBackendError(f"{place} has no earlier state: nothing to go back to")
        return older[-1]
    found = [state for state in there if state.number == number]
    if not found:
        have = ", ".join(str(state.number) for state in there) or "none"
        raise CoprBackendError(f"{place} has no state {number}: there are {have}")
    return found[0]


def roll_back(order: Order, number: int | None, queue: Path) -> Done:
    """Make an earlier state the live one; only for the holder of the lock.

    Of a project that publishes by hand: the released metadata, or (`place`) those in devel/. The
    latter go on listing what is released.
    """
    target = choose(order.place, number)
    wanted = target.manifest()
    if wanted is None:
        raise CoprBackendError(f"state {target.number} was not made here: it names no builds")
    there = _present(order.repo, wanted)
    gone = tuple(sorted(wanted.names() - there))
    devel = order.place != order.repo
    released = compare.listed(order.repo) if devel else frozenset()
    listed = there | (released & scan.everything(order.repo).keys() if devel else released)
    by_hand = not devel and (order.repo / DEVEL / "repodata" / repomd.NAME).exists()
    # Should we be killed between marks and metadata: the next publisher looks into everything.
    wish = Wish(
        who="a rollback",
        place=DEVEL if devel else "",
        everything=not by_hand,
        look=() if by_hand else tuple(listed),
    )
    with Ticket(queue, wish):
        if not by_hand:
            _marks(order.repo, listed)
        if gone or listed != there:
            _anew(order, listed, by_hand=by_hand)
        else:
            _again(order, target)
    live = states.live(order.place)
    return Done(state=live.number if live else 0, builds=len(listed), gone=gone)


def _present(repo: Path, wanted: Manifest) -> frozenset[str]:
    """The builds of a state whose packages are as they were."""
    found = set()
    for entry in wanted.entries():
        build = scan.look(repo, entry.name, marked=False)
        if build and build.stamp == entry.stamp:
            found.add(entry.name)
    return frozenset(found)


def _marks(repo: Path, wanted: frozenset[str]) -> None:
    for name in sorted(wanted):
        if not (repo / name / SUCCESS).exists():
            scan.give_back(repo / name)
            if not (repo / name / SUCCESS).exists():
                scan.mark(repo / name)
    for name in scan.everything(repo).keys() - wanted:
        scan.withhold(repo / name)


def _anew(order: Order, listed: frozenset[str], *, by_hand: bool) -> None:
    """Metadata of that time will not do: publish what is to be listed."""
    chosen: Choose | None = (lambda _now: listed) if by_hand else None
    transaction.publish(replace(order, choose=chosen), (), everything=True)


def _again(order: Order, target: State) -> None:
    """The very same metadata, as the newest state."""
    made = states.following(order.place)
    part = order.repo / PRIVATE / "tmp" / "again"
    make_directory(part.parent)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for path in [*target.files(), target.path / repomd.NAME]:
        states.link(path, part / path.name)
    shutil.copy2(target.path / manifest.FILE, part / manifest.FILE)
    if order.signer:
        content = order.signer.sign_metadata(part / repomd.NAME)
        (part / repomd.SIGNATURE).write_bytes(content)
    part.rename(made)
    swap.go_live(order.place, State(path=made))
