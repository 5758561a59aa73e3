"""Publishing: one chroot directory becomes, and stays, a dnf repository.

Readers see the old metadata or the new, never half of it. What is on disk is the truth: a
build directory with the mark of success is listed, others are not. Who publishes says which
builds to look at; of those who wait for a repository, whoever gets it first publishes for all.
How it is done: `backend.repo`.
"""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from backend import layout, publishboard, sign
from backend.config import Config
from backend.disk import make_directory
from backend.exceptions import InfrastructureError, ToolError
from backend.layout import DEVEL, SUCCESS
from backend.locks import exclusive
from backend.repo import chunks, repomd, states, tickets, transaction
from backend.repo.compare import Choose, Order, Signer
from backend.repo.states import PRIVATE
from backend.repo.tickets import Answer, Ticket, Wish

LOCK = ".repo.lock"
#: Whoever waits looks so often whether it still may, in seconds.
_CHECK_EVERY = 0.25


def _nothing() -> None:
    """The check of a publisher that nobody can stop."""


def _silent(_text: str) -> None:
    """The ear of a publisher that nobody listens to."""


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How one publisher behaves towards others.

    `who` is what those hear who wait for him, `say` gets what people should know. While he
    waits himself (at most `patience` seconds), and once more when nobody else can publish,
    `check` is called: what it raises ends it. `timeout` limits createrepo_c, in seconds.
    """

    who: str = ""
    say: Callable[[str], None] = _silent
    check: Callable[[], None] = _nothing
    patience: float = 1800
    timeout: float = 600


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How one project's repositories are published: what the configuration says of them.

    `compression` is gz or zstd, `sqlite`: databases besides; `keep` states can be gone back to;
    `signer` is None while signing is off; `board` is where publishers are to be seen.
    """

    keep: int = 3
    compression: str = "gz"
    sqlite: bool = False
    signer: Signer | None = None
    board: Path | None = None


def policy(config: Config, repo: Path) -> Policy:
    """The policy for a chroot's directory, `<destdir>/<owner>/<dirname>/<chroot>`."""
    return Policy(
        keep=config.repository_keep_states,
        compression=config.repository_compression,
        sqlite=config.repository_sqlite,
        signer=sign.of_repository(config, repo),
        board=layout.publishing(config.statedir),
    )


def publish(
    repo: Path,
    *,
    build: str = "",
    mark: Callable[[], None] | None = None,
    without: Collection[str] = (),
    choose: Choose | None = None,
    devel_url: str = "",
    manners: Manners = Manners(),
    policy: Policy = Policy(),
) -> None:
    """Make the metadata of `repo` list the RPMs of its successful builds, and no others.

    `build` names a result directory that gets its mark of success, when nobody else can publish
    any more; then `mark` is called, too. `without` names those to be left out, because they are
    about to go: they lose their mark. With neither, every directory is looked into. With
    `devel_url`, the URL of `repo`, only the metadata in `devel/` changes; its packages stay where
    they are (`xml:base`). A `comps.xml` in `repo` becomes the group file. `choose` narrows the
    successful builds down to some of them, which keep their mark either way.

    Raises InfrastructureError; what was published before is then still in place. An RPM that
    createrepo_c cannot read is left out, and said so.
    """
    order = order_of(repo, devel_url, manners, policy, choose=choose)
    if choose:
        with alone(order, manners):
            manners.check()
            tell(manners, transaction.run(order, queue(repo)))
        return
    wish = Wish(
        who=manners.who or str(os.getpid()),
        place=DEVEL if devel_url else "",
        mark=build,
        drop=tuple(sorted(without)),
        everything=not build and not without,
    )
    while not _fulfil(order, wish, manners, mark).granted:
        manners.check()
        if not (repo / build).is_dir():
            raise InfrastructureError(f"cannot publish {repo / build}: it is gone")


def order_of(
    repo: Path,
    devel_url: str,
    manners: Manners,
    policy: Policy,
    *,
    choose: Choose | None = None,
    fresh: bool = False,
) -> Order:
    """What is to be made: the metadata of `repo` or, with `devel_url`, those in `devel/`.

    `choose` as in `publish`; `fresh`: from the packages alone, whatever earlier metadata say.
    """
    return Order(
        repo=repo,
        place=repo / DEVEL if devel_url else repo,
        baseurl=devel_url,
        choose=choose,
        fresh=fresh,
        keep=policy.keep,
        compression=policy.compression,
        sqlite=policy.sqlite,
        signer=policy.signer,
        board=policy.board,
        timeout=manners.timeout,
    )


def queue(repo: Path) -> Path:
    """Where those who publish in `repo` leave their tickets."""
    return repo / PRIVATE / tickets.QUEUE


def tell(manners: Manners, notes: Collection[str]) -> None:
    """Say each of them."""
    for note in notes:
        manners.say(note)


class _Settled(Exception):
    """Somebody else has done it."""


def _fulfil(order: Order, wish: Wish, manners: Manners, mark: Callable[[], None] | None) -> Answer:
    """Wait until the wish is fulfilled, by whoever gets the repository first; not by others if
    there is something to be called."""
    with _errors(order.repo), Ticket(queue(order.repo), wish, alone=bool(mark)) as ticket:
        try:
            with alone(order, manners, ticket):
                if ticket.answer is None:
                    if not ticket.taken:
                        manners.check()
                    if mark:
                        ticket.share()  # should we be killed after it, others look here
                        mark()
                    tell(manners, transaction.run(order, queue(order.repo)))
                    return ticket.answer or Answer(granted=False)
        except _Settled:
            pass
        answer = ticket.answer or Answer(granted=False)
    tell(manners, answer.notes)
    return answer


@contextlib.contextmanager
def _errors(repo: Path) -> Iterator[None]:
    """Errors of the disk and of programs leave as InfrastructureError."""
    try:
        yield
    except (OSError, ToolError) as error:
        raise InfrastructureError(f"cannot publish {repo}: {error}") from error


@contextlib.contextmanager
def alone(order: Order, manners: Manners, ticket: Ticket | None = None) -> Iterator[None]:
    """Be the only publisher. Errors as in `publish`; raises _Settled when another one has done
    what `ticket` asks for."""
    checked = time.monotonic()

    def waiting(holder: str) -> None:
        nonlocal checked
        if holder:
            manners.say(f"waiting for {holder}, who publishes {order.repo}")
        if ticket and ticket.answer:
            raise _Settled
        if not holder and time.monotonic() < checked + _CHECK_EVERY:
            return
        checked = time.monotonic()
        try:
            manners.check()
        except BaseException:
            if ticket is None or ticket.take_back():
                raise  # else it is too late: the build is being published

    who = manners.who or f"pid {os.getpid()}"
    with _errors(order.repo), publishboard.noted(order.board, who, order.place) as note:
        make_directory(order.place)
        with exclusive(order.repo / LOCK, who=manners.who, limit=manners.patience, waiting=waiting):
            note.begins()
            yield


def retract(
    repo: Path,
    name: str,
    devel_url: str = "",
    manners: Manners = Manners(),
    policy: Policy = Policy(),
) -> None:
    """Make sure that the build directory `name` of `repo` is not published, nor will be.

    With `devel_url`, as in `publish`, that is about the metadata in `devel/`. Raises
    InfrastructureError; then it is to be tried again.
    """
    with _errors(repo):
        known = (
            (repo / name / SUCCESS).exists()
            or any(name in wish.names for wish, _ in tickets.waiting(queue(repo)))
            or name in listed(repo / DEVEL if devel_url else repo)
        )
    if known:
        publish(repo, without=[name], devel_url=devel_url, manners=manners, policy=policy)


def withdraw(
    repo: Path,
    names: Collection[str],
    *,
    devel_url: str = "",
    manners: Manners = Manners(),
    policy: Policy = Policy(),
) -> None:
    """Make sure that no metadata of `repo` lists RPMs in the directories `names`, nor will.

    Of a project that publishes by hand (`devel_url`, as in `publish`) the other packages in the
    main metadata stay the same. Raises InfrastructureError; then it is to be tried again.
    """
    gone = frozenset(names)
    publish(repo, without=gone, devel_url=devel_url, manners=manners, policy=policy)
    if devel_url and gone & listed(repo):
        publish(repo, choose=lambda now: now - gone, manners=manners, policy=policy)


def listed(place: Path) -> frozenset[str]:
    """The result directories whose RPMs the metadata in `place` lists."""
    for _ in range(100):
        state = states.live(place)
        if state and (made := state.manifest()):
            return made.names()
        if not (place / "repodata" / repomd.NAME).exists():
            return frozenset()
        if not chunks.files(place / "repodata"):
            return frozenset()
        with contextlib.suppress(FileNotFoundError):  # publishers were faster
            return frozenset(package.build for package in chunks.read(place / "repodata"))
    raise InfrastructureError(f"{place}: its metadata changes all the time, or is incomplete")


def is_published(repo: Path) -> bool:
    """True when there is a repository, be it empty."""
    return (repo / "repodata" / repomd.NAME).is_file()
