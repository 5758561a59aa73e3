"""Gives the packages of a project the signature of its present key, and its metadata too.

Signing takes its time and happens beside publishers, into copies; then all packages of a
repository are exchanged at once and its metadata made anew. Killed at any moment, it is simply
done again: what carries the right signature is left alone.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from backend import openpgp, sign
from backend.config import Config
from backend.constants import SRPM_CHROOT
from backend.disk import sync
from backend.exceptions import InfrastructureError
from backend.layout import DEVEL, SUCCESS
from backend.repository import Manners, is_published, policy, publish
from backend.rpmfile import signing_keys
from backend.sign import ProjectSigner
from backend.signing import Project

_PRIVATE = ".resign-"
#: In a repository whose packages may be newer than its metadata.
_UNFINISHED = ".resigning"
_SIGNATURE = Path("repodata/repomd.xml.asc")
#: Builds that end meanwhile are taken in the next round.
_ROUNDS = 10
Say = Callable[[str], None]


def resign(config: Config, project: Project, say: Say) -> int:
    """Sign whatever does not carry the signature of the current key; returns how many packages.

    Raises InfrastructureError; then it is to be tried again.
    """
    count = 0
    for repo in repositories(config, project):
        signer = sign.signer(config, project.owner, repo.parent.name)
        if signer is None:
            raise InfrastructureError(f"{config.path}: signing is off: set [signing] backend")
        signer.prepare()
        done = _repository(config, repo, signer, say)
        say(f"{project.owner}/{repo.parent.name}/{repo.name}: {done} packages signed")
        count += done
    return count


def repositories(config: Config, project: Project) -> Iterator[Path]:
    """The directories of chroots of a project and its side directories."""
    owner = config.destdir / project.owner
    for dirname in sorted([project.name, *(p.name for p in owner.glob(f"{project.name}:*"))]):
        for repo in sorted((owner / dirname).glob("[!.]*")):
            if repo.is_dir() and not repo.is_symlink() and repo.name != SRPM_CHROOT:
                yield repo


def _repository(config: Config, repo: Path, signer: ProjectSigner, say: Say) -> int:
    mine = signer.key_ids()[0]
    count = 0
    for number in range(_ROUNDS):
        todo = [path for path in _packages(repo) if mine not in signing_keys(path)]
        if not todo and not (repo / _UNFINISHED).exists() and (number or finished(repo, mine)):
            return count
        count += _exchange(config, repo, signer, todo, say)
    raise InfrastructureError(f"{repo}: new packages without a signature arrive all the time")


def finished(repo: Path, key: str) -> bool:
    """True when the metadata carry the signature of this key; those without any change may keep
    that of the key before."""
    return all(_signers(place) == {key} for place in _places(repo))


def _packages(repo: Path) -> list[Path]:
    return [path for path in sorted(repo.glob("[!.]*/*.rpm")) if (path.parent / SUCCESS).exists()]


def _places(repo: Path) -> list[Path]:
    """Where metadata are: of everything, and in a project in devel mode of what is not released."""
    return [place for place in (repo, repo / DEVEL) if is_published(place)]


def _signers(place: Path) -> set[str]:
    try:
        return openpgp.signers(openpgp.dearmor((place / _SIGNATURE).read_bytes()))
    except FileNotFoundError:
        return set()


def _exchange(
    config: Config, repo: Path, signer: ProjectSigner, todo: Sequence[Path], say: Say
) -> int:
    try:
        for left in repo.glob(f"{_PRIVATE}*"):
            shutil.rmtree(left, ignore_errors=True)
        private = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=repo))
        try:
            made = [_copy(path, private) for path in todo]
            signer.sign_copies([copy for copy, _, _ in made])
            exchange = [(copy, path) for copy, path, was in made if _identity(path) == was]
            _publish(config, repo, exchange, say)
        finally:
            shutil.rmtree(private, ignore_errors=True)
    except OSError as error:
        raise InfrastructureError(f"cannot sign {repo} again: {error}") from error
    return len(exchange)


def _copy(path: Path, private: Path) -> tuple[Path, Path, object]:
    """The copy, the original, and what that was when it was copied."""
    was = _identity(path)
    place = private / path.parent.name
    place.mkdir(exist_ok=True)
    return shutil.copyfile(path, place / path.name), path, was


def _identity(path: Path) -> object:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _publish(config: Config, repo: Path, exchange: Sequence[tuple[Path, Path]], say: Say) -> None:
    """Put the packages in place and make the metadata list the same ones as before."""

    def put() -> None:
        (repo / _UNFINISHED).touch()
        sync(repo)
        for copy, path in exchange:
            if path.exists():
                sign.install(copy, path)

    rules, manners = policy(config, repo), Manners(who="copr_be.py key resign", say=say)
    if is_published(repo / DEVEL):
        where = "/".join(repo.parts[-3:])
        url = f"{config.results_url}/{quote(where, safe='/@:+~^')}"
        publish(repo, mark=put, devel_url=url, manners=manners, policy=rules)
        publish(repo, choose=lambda now: now, manners=manners, policy=rules)  # releases nothing
    else:
        publish(repo, mark=put, manners=manners, policy=rules)
    (repo / _UNFINISHED).unlink(missing_ok=True)
