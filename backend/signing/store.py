"""Where the gpg backend keeps its keys: `statedir/keys/OWNER/PROJECT/`, closed to all others.

    current         fingerprint of the key that signs
    FINGERPRINT/    one key: its secret (private-keys-v1.d), its public part, and key.json

A key appears under its fingerprint when it is complete, and becomes the current one by a rename.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from backend.disk import sync
from backend.exceptions import InfrastructureError
from backend.locks import exclusive
from backend.signing import Project

DIRECTORY = "keys"
PUBLIC = "public.asc"
_CURRENT, _FACTS, _NEW, _LOCK = "current", "key.json", ".new-", ".lock"
_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
#: Longest wait for somebody else who makes a key, in seconds.
_PATIENCE = 300.0


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key. Times are in seconds since the epoch; 0: never, or not yet.

    `retired`: another one took its place; `replaced`: nothing carries its signature any more.
    """

    fingerprint: str
    type: str
    uid: str
    created: int
    expires: int = 0
    retired: int = 0
    replaced: int = 0

    @property
    def id(self) -> str:
        """What signatures name it by: the last 16 digits of its fingerprint."""
        return self.fingerprint[-16:]

    def usable(self, now: float) -> bool:
        """False when it has expired, or will have within a day."""
        return not self.expires or now < self.expires - 86400

    def published(self, now: float, keep: float) -> bool:
        """Whether readers may still need it, `keep` seconds after the last signature went."""
        return not self.replaced or now < self.replaced + keep


class Store:
    """The keys of all projects. OSError leaves as InfrastructureError."""

    def __init__(self, statedir: Path) -> None:
        self.top = statedir / DIRECTORY

    def path(self, project: Project) -> Path:
        """The directory of a project."""
        return self.top / project.owner / project.name

    def directory(self, project: Project, key: Key) -> Path:
        """The directory of one key."""
        return self.path(project) / key.fingerprint

    @contextlib.contextmanager
    def locked(self, project: Project) -> Iterator[None]:
        """Be the only one who changes the project's keys."""
        path = self.path(project)
        with _disk(path):
            for directory in (self.top, path.parent, path):
                directory.mkdir(mode=0o700, exist_ok=True)
            with exclusive(path / _LOCK, limit=_PATIENCE):
                for left in path.glob(f"{_NEW}*"):
                    shutil.rmtree(left, ignore_errors=True)
                yield

    def projects(self) -> list[Project]:
        """All that have a key."""
        found = self.top.glob(f"*/*/{_CURRENT}")
        return sorted(Project(path.parent.parent.name, path.parent.name) for path in found)

    def current(self, project: Project) -> Key | None:
        """The key that signs."""
        path = self.path(project)
        with _disk(path):
            try:
                fingerprint = (path / _CURRENT).read_text().strip()
            except FileNotFoundError:
                return None
            return _read(path / fingerprint)

    def keys(self, project: Project) -> list[Key]:
        """The current one first, then the others, the youngest first."""
        current = self.current(project)
        with _disk(self.path(project)):
            found = [
                key
                for entry in self.path(project).glob("*")
                if _FINGERPRINT.fullmatch(entry.name) and (key := _read(entry))
            ]
        found.sort(key=lambda key: (key == current, key.created), reverse=True)
        return found

    def public(self, project: Project, key: Key) -> bytes:
        """The public part, armored."""
        path = self.directory(project, key) / PUBLIC
        with _disk(path):
            return path.read_bytes()

    @contextlib.contextmanager
    def new(self, project: Project) -> Iterator[Path]:
        """A private directory for a key in the making; hold the lock."""
        with _disk(self.path(project)):
            path = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.path(project)))
            try:
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)

    def adopt(self, project: Project, made: Path, key: Key) -> None:
        """The finished key becomes the current one; the one before retires. Hold the lock."""
        path, before = self.path(project), self.current(project)
        with _disk(path):
            _write(made / _FACTS, json.dumps(asdict(key), indent=1).encode())
            for entry in made.rglob("*"):
                sync(entry)
            sync(made)
            if (path / key.fingerprint).exists():
                self.change(project, key)
            else:
                made.rename(path / key.fingerprint)
            self._switch(project, key)
        if before and before.fingerprint != key.fingerprint:
            self.change(project, replace(before, retired=int(time.time())))

    def _switch(self, project: Project, key: Key) -> None:
        path = self.path(project)
        sync(path)
        _write(path / _CURRENT, f"{key.fingerprint}\n".encode())
        sync(path)

    def change(self, project: Project, key: Key) -> None:
        """Keep other facts about a key."""
        path = self.directory(project, key)
        with _disk(path):
            _write(path / _FACTS, json.dumps(asdict(key), indent=1).encode())

    def remove(self, project: Project, key: Key) -> None:
        """Forget a retired key for good."""
        with _disk(self.path(project)):
            shutil.rmtree(self.directory(project, key))


def _read(path: Path) -> Key | None:
    try:
        return Key(**json.loads((path / _FACTS).read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise InfrastructureError(f"{path / _FACTS} is damaged: {error}: restore it") from error


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    temporary.replace(path)


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InfrastructureError(f"keys in {path}: {reason}: check that directory") from error
