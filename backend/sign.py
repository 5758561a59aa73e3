"""Keys and signatures of projects: what the rest of the backend needs to know about them.

Whoever publishes asks `signer` for that of the project. What goes wrong here is the farm's
fault: it is tried a few times, then raised as InfrastructureError, and no build fails by it.
"""

import contextlib
import os
import select
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from backend import openpgp
from backend.config import Config
from backend.disk import FILE_MODE, make_directory, sync, write_file
from backend.exceptions import ConfigError, InfrastructureError
from backend.rpmfile import signing_keys
from backend.signing import Backend, Project

OFF, GPG, OBS = "off", "gpg", "obs-sign"
#: Public keys of a project, in its directory.
PUBKEY = "pubkey.gpg"
_PRIVATE = ".publish-sign-"
#: Pauses before the next try, in seconds; today's Copr makes three tries, too.
_PAUSES = (1.0, 5.0)
T = TypeVar("T")


def signs(config: Config) -> bool:
    """True when packages and metadata are signed."""
    return config.signing_backend != OFF


def tools(config: Config) -> tuple[str, ...]:
    """The programs that signing needs."""
    return ("gpg", "gpg-agent", "gpgconf", "rpmsign") if config.signing_backend == GPG else ()


def sweep(config: Config) -> None:
    """Remove what killed processes left that were signing."""
    if config.signing_backend == GPG:
        from backend.signing import session  # noqa: PLC0415

        session.sweep(config.rundir)


def backend(config: Config) -> Backend:
    """What signs by this configuration; raises ConfigError when nothing does."""
    if config.signing_backend == GPG:
        from backend.signing.gpg import GpgBackend  # noqa: PLC0415 - idle workers stay small

        return GpgBackend(config)
    if config.signing_backend == OBS:
        from backend.signing.obs import ObsBackend  # noqa: PLC0415

        return ObsBackend(config)
    raise ConfigError(f"{config.path}: signing is off: set [signing] backend = {GPG}")


def of_repository(config: Config, repo: Path) -> "ProjectSigner | None":
    """Who signs what is published in a chroot's directory, `<destdir>/<owner>/<dirname>/<chroot>`;
    None while signing is off."""
    if not signs(config):
        return None
    return signer(config, repo.parent.parent.name, repo.parent.name)


def signer(config: Config, owner: str, dirname: str) -> "ProjectSigner | None":
    """Who signs what is published in `owner/dirname`; None while signing is off.

    `owner` and `dirname` are checked names.
    """
    if not signs(config):
        return None
    return ProjectSigner(config.destdir, backend(config), Project.of(owner, dirname), dirname)


@dataclass(frozen=True)
class ProjectSigner:
    """Signs with the key of one project, which is made when it is first needed."""

    destdir: Path
    backend: Backend
    project: Project
    dirname: str

    def prepare(self) -> None:
        """Have a key, and its public part where readers look for it."""
        public = _persistent(lambda: self.backend.public(self.project))
        for name in dict.fromkeys((self.project.name, self.dirname)):
            publish_key(self.destdir / self.project.owner / name, public)

    def sign_rpms(self, paths: Sequence[Path]) -> int:
        """Sign what carries no signature that readers know; hold the lock of its repository,
        `<repository>/<build>/<package>`. Returns how many were signed.

        Each file is replaced at one instant and never changed in place: others may share it.
        """
        self.prepare()
        known = self.key_ids()
        todo = [path for path in paths if not signing_keys(path).intersection(known)]
        for directory in dict.fromkeys(path.parent for path in todo):
            own = [path for path in todo if path.parent == directory]
            with copies(directory.parent, own) as copied:
                self.sign_copies(copied)
                for copy, path in zip(copied, own, strict=True):
                    install(copy, path)
        return len(todo)

    def key_ids(self) -> list[str]:
        """Ids of the keys whose signatures readers know, that of the one that signs first."""
        public = _persistent(lambda: self.backend.public(self.project))
        found = openpgp.key_ids(openpgp.dearmor(public))
        if not found:
            raise InfrastructureError(f"the public key of {self.project} is not readable")
        return found

    def sign_copies(self, copied: Sequence[Path]) -> None:
        """Sign files that nobody else sees, in place, and look whether it worked."""
        mine = self.key_ids()[0]
        _persistent(lambda: self.backend.sign_copies(self.project, copied))
        for copy in copied:
            if signing_keys(copy) != {mine}:
                raise InfrastructureError(f"{copy.name} did not get the signature of {mine}")

    def sign_metadata(self, repomd: Path) -> bytes:
        """The detached signature of the file, in ASCII armor."""
        self.prepare()
        return openpgp.armor(_persistent(lambda: self.backend.sign_file(self.project, repomd)))


def _persistent(work: Callable[[], T]) -> T:
    for pause in _PAUSES:
        with contextlib.suppress(InfrastructureError):
            return work()
        select.select([], [], [], pause)
    return work()


@contextlib.contextmanager
def copies(repo: Path, paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Copies of files in a private directory, which is removed at the end, or by the next who
    gets here with the repository's lock. Never links: rpmsign writes into a file whose signature
    header has room.
    """
    try:
        for left in repo.glob(f"{_PRIVATE}*"):
            shutil.rmtree(left, ignore_errors=True)
        private = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=repo))
        try:
            yield [shutil.copyfile(path, private / path.name) for path in paths]
        finally:
            shutil.rmtree(private, ignore_errors=True)
    except OSError as error:
        raise InfrastructureError(f"cannot sign in {repo}: {error.strerror}") from error


def install(copy: Path, path: Path) -> None:
    """Put a signed copy in a file's place, at one instant.

    Its time differs by a second at least: that, beside the size, is how createrepo_c sees that
    a file is another one.
    """
    copy.chmod(FILE_MODE)
    new, old = copy.stat().st_mtime, path.stat().st_mtime
    if int(new) <= int(old):
        os.utime(copy, (old + 1, old + 1))
    sync(copy)
    copy.replace(path)


def publish_key(directory: Path, public: bytes) -> None:
    """Have `pubkey.gpg` in a project's directory say this."""
    target = directory / PUBKEY
    try:
        with contextlib.suppress(FileNotFoundError):
            if target.read_bytes() == public:
                return
        make_directory(directory)
        temporary = directory / f".{PUBKEY}.{os.getpid()}"
        write_file(temporary, public)
        sync(temporary)
        temporary.replace(target)
    except OSError as error:
        raise InfrastructureError(f"cannot write {target}: {error.strerror}") from error
