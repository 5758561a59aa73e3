"""Removes the results that `pruning` has decided on, of what `prune_scan` has found.

Safe beside publishers, and to be killed at any point: what is going to go is marked first,
leaves all metadata under the repository's lock, gets a hidden name, and only then is deleted.
The next run finishes what is left.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from backend import pruning
from backend.config import Config
from backend.constants import SRPM_CHROOT
from backend.disk import write_file
from backend.exceptions import CoprBackendError
from backend.locks import exclusive
from backend.prune_scan import MARK, METADATA, is_log, results, subdirectories
from backend.pruning import ALL, LOGS, Known, Rules, Step
from backend.repository import LOCK, Manners, policy, withdraw

#: Prefix of directories that are being deleted.
GONE = ".pruned-"
#: Seconds that a prune waits for another one.
PATIENCE = 5.0


class Books(Protocol):
    """What a frontend knows and is told."""

    def unfinished(self) -> frozenset[str]:
        """Ids of tasks that are not finished."""

    def wanted(self) -> frozenset[str]:
        """Places that waiting actions are going to read."""

    def known(self, owner: str, dirname: str) -> Known | str:
        """Of a project directory; a text: why it is left alone."""

    def claim(self, steps: Sequence[Step]) -> Sequence[Step]:
        """The steps that may still be done; nobody counts on what they remove from now on."""

    def gone(self, steps: Sequence[Step]) -> None:
        """These have been done."""

    def chroot_gone(self, owner: str, dirname: str, chroot: str) -> None:
        """The chroot's directory has been removed at its end of life."""

    def finished(self) -> None:
        """Everything was pruned, without trouble."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done in one chroot of one project directory."""

    repo: Path
    known: Known
    steps: list[Step]
    #: Why all of the chroot goes; empty: it stays.
    ended: str = ""


@dataclass(kw_only=True)
class Pruner:
    """`owner` and `project` narrow it down to theirs. `say` is told what is left alone."""

    config: Config
    books: Books
    say: Callable[[str], None]
    owner: str = ""
    project: str = ""
    failed: list[str] = field(default_factory=list)

    @property
    def rules(self) -> Rules:
        """As configured."""
        config = self.config
        return Rules(
            keep=config.prune_keep,
            days=config.prune_days,
            log_days=config.prune_log_days,
            eol=config.prune_eol if config.embedded else {},
            eol_days=config.prune_eol_days,
        )

    def plan(self, now: float) -> list[Work]:
        """Everything that is to go; changes nothing."""
        unfinished, wanted = self.books.unfinished(), self.books.wanted()
        work: list[Work] = []
        for directory in self._directories():
            owner, dirname = directory.parent.name, directory.name
            known = self.books.known(owner, dirname)
            if isinstance(known, str):
                self.say(f"{owner}/{dirname}: left alone: {known}")
                continue
            known = self._own_number(known, owner, dirname)
            found = list(results(directory, devel=known.devel))
            steps = pruning.plan(
                found, known, self.rules, unfinished=unfinished, wanted=wanted, now=now
            )
            work += _by_chroot(directory, known, steps, self._ended(directory, known, now))
        return work

    def _own_number(self, known: Known, owner: str, dirname: str) -> Known:
        number = self.config.prune_keep_project.get(f"{owner}/{dirname.partition(':')[0]}")
        return known if number is None else replace(known, keep=number)

    def _ended(self, directory: Path, known: Known, now: float) -> dict[str, str]:
        if not known.auto:
            return {}
        names = [repo.name for repo in subdirectories(directory) if repo.name != SRPM_CHROOT]
        return pruning.ended_chroots(self.rules, names, now)

    def _directories(self) -> Iterator[Path]:
        for owner in subdirectories(self.config.destdir):
            if self.owner and owner.name != self.owner:
                continue
            for directory in subdirectories(owner):
                if not self.project or directory.name.partition(":")[0] == self.project:
                    yield directory

    def carry_out(self, work: Iterable[Work]) -> list[Step]:
        """Do it; returns what was done. Trouble with one chroot keeps no other one waiting: it
        is in `failed`."""
        done: list[Step] = []
        for piece in work:
            try:
                done += self._piece(piece)
            except (CoprBackendError, OSError, shutil.Error) as error:
                self.failed.append(f"{piece.repo}: {error}")
        self._sweep()
        if not self.failed and not self.owner and not self.project:
            self.books.finished()
        return done

    def _piece(self, piece: Work) -> Sequence[Step]:
        steps = self.books.claim(piece.steps)
        going = [step for step in steps if step.what != LOGS]
        for step in going:
            with contextlib.suppress(FileNotFoundError):  # somebody has deleted the build
                write_file(piece.repo / step.found.name / MARK, step.what.encode())
        self._withdraw(piece, [step.found.name for step in going])
        for step in steps:
            path = piece.repo / step.found.name
            if step.what == ALL:
                discard(path)
            else:
                _strip(path, logs=step.what == LOGS)
        self.books.gone(steps)
        if piece.ended:
            self._drop_chroot(piece)
        return steps

    def _withdraw(self, piece: Work, names: Collection[str]) -> None:
        """No metadata lists packages that are about to go."""
        repo = piece.repo
        packages = any(next((repo / name).glob("*.rpm"), None) for name in names)
        if repo.name == SRPM_CHROOT or not packages or not repo.is_dir():
            return
        url = ""
        if piece.known.devel:
            where = f"{repo.parent.parent.name}/{repo.parent.name}/{repo.name}"
            url = f"{self.config.results_url}/{quote(where, safe='/@:+~^')}"
        manners = Manners(who=f"prune (pid {os.getpid()})", say=self.say)
        rules = policy(self.config, repo)
        withdraw(repo, names, devel_url=url, manners=manners, policy=rules)

    def _drop_chroot(self, piece: Work) -> None:
        repo = piece.repo
        left = [entry.name for entry in subdirectories(repo) if entry.name not in METADATA]
        if left:
            self.say(f"{repo}: {piece.ended}, but {left[0]} is still there")
            return
        if repo.is_dir():
            with exclusive(repo / LOCK, who=f"prune (pid {os.getpid()})", limit=600):
                discard(repo)
        owner, dirname = repo.parent.parent.name, repo.parent.name
        self.books.chroot_gone(owner, dirname, repo.name)

    def _sweep(self) -> None:
        """What a prune that was killed had begun to delete."""
        places = {directory.parent for directory in self._directories()}
        for directory in self._directories():
            places |= {directory, *subdirectories(directory)}
        for place in places:
            for left in place.glob(f"{GONE}*"):
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def alone(config: Config) -> Iterator[None]:
    """Be the only one who prunes; raises CoprBackendError when somebody else does."""
    try:
        with exclusive(config.statedir / "prune.lock", who=f"pid {os.getpid()}", limit=PATIENCE):
            yield
    except TimeoutError as error:
        raise CoprBackendError(f"another prune is at work: {error}") from error


def _by_chroot(
    directory: Path, known: Known, steps: Iterable[Step], ended: dict[str, str]
) -> Iterator[Work]:
    by: dict[str, list[Step]] = {chroot: [] for chroot in ended}
    for step in steps:
        by.setdefault(step.found.chroot, []).append(step)
    for chroot, own in sorted(by.items()):
        yield Work(repo=directory / chroot, known=known, steps=own, ended=ended.get(chroot, ""))


def discard(path: Path) -> None:
    """Delete a directory: it disappears at one instant, whatever happens while it is deleted."""
    hidden = path.with_name(GONE + path.name)
    shutil.rmtree(hidden, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        path.rename(hidden)
        shutil.rmtree(hidden)


def _strip(path: Path, *, logs: bool) -> None:
    """Delete the logs in a directory, or everything else; the mark goes last."""
    if not path.is_dir():
        return
    for entry in path.iterdir():
        if entry.name == MARK or is_log(entry) != logs:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (path / MARK).unlink(missing_ok=True)
