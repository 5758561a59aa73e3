"""`copr_be.py key`: the keys that sign what projects publish.

Works beside the running daemon, and as its user: files that root made would be closed to it.
"""

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from backend import resign as again
from backend import sign
from backend.config import Config
from backend.constants import Exit
from backend.exceptions import CoprBackendError, ProtocolError
from backend.identity import Identity
from backend.locks import exclusive
from backend.signing import Project
from backend.signing.gpg import GpgBackend
from backend.signing.store import Key
from backend.taskfields import component

_LOCK = "resign.lock"


def run(
    config: Config,
    what: str,
    name: str | None,
    *,
    every: bool,
    file: Path | None,
    recipient: Path | None,
    passphrase: Path | None,
) -> int:
    """Check that the arguments belong together, and do it."""
    if what == "show":
        return show(config, name)
    if what == "resign" and (name is None) == every:
        return resign(config, name)
    if name is None or every:
        raise CoprBackendError(f"key {what}: name one project as OWNER/PROJECT")
    if what == "rotate":
        return rotate(config, name)
    if file is None:
        raise CoprBackendError(f"key {what}: name the file with --file")
    if what == "import":
        return take(config, name, file, passphrase)
    if (recipient is None) == (passphrase is None):
        raise CoprBackendError(
            "key export: a secret key never leaves in the clear: give --to-gpg-recipient or"
            " --passphrase-file"
        )
    how = ["--encrypt", "--recipient-file", str(recipient)]
    if passphrase:
        how = ["--passphrase-file", str(passphrase.absolute()), "--symmetric"]
    return export(config, name, file, how)


def show(config: Config, name: str | None) -> int:
    """Print the keys of one project, or of all."""
    keys = _keys(config)
    now, keep = time.time(), config.signing_keep_days * 86400
    for project in _projects(keys, name):
        for number, key in enumerate(keys.store.keys(project)):
            print(
                f"{project}\t{key.fingerprint}\t{key.type}\t{_state(key, number == 0, now, keep)}"
            )
    return Exit.OK


def _state(key: Key, current: bool, now: float, keep: float) -> str:
    text = f"made {_day(key.created)}, expires {_day(key.expires) if key.expires else 'never'}"
    if current:
        return f"{text}, signs"
    if not key.replaced:
        return f"{text}, old: packages may carry its signature until `key resign`"
    if key.published(now, keep):
        return f"{text}, old: in pubkey.gpg until {_day(key.replaced + int(keep))}"
    return f"{text}, old: not published any more"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def rotate(config: Config, name: str) -> int:
    """Make a new key for a project; readers get both public keys."""
    keys = _keys(config)
    project = _project(name)
    if not (config.destdir / project.owner / project.name).is_dir():
        raise CoprBackendError(f"{project} has published nothing yet: it needs no other key")
    key = keys.rotate(project)
    _tell_readers(config, project)
    print(
        f"{project} signs with {key.fingerprint} from now on; its packages: copr_be.py key resign"
    )
    return Exit.OK


def resign(config: Config, name: str | None) -> int:
    """Sign packages and metadata of a project, or of all, with the current key."""
    keys = _backend(config)
    with contextlib.ExitStack() as stack:
        config.statedir.mkdir(exist_ok=True)
        try:
            stack.enter_context(exclusive(config.statedir / _LOCK, limit=0))
        except TimeoutError as error:
            raise CoprBackendError("another `key resign` is at work: let it end") from error
        for project in [_project(name)] if name else _published(config):
            count = again.resign(config, project, print)
            if isinstance(keys, GpgBackend):
                key = keys.key(project).id
                if all(again.finished(repo, key) for repo in again.repositories(config, project)):
                    keys.all_replaced(project)
            _tell_readers(config, project)
            print(f"{project}: done, {count} packages signed")
    return Exit.OK


def export(config: Config, name: str, path: Path, how: Sequence[str]) -> int:
    """Write a project's secret key, encrypted as `how` (arguments of gpg) says."""
    data = _keys(config).export(_project(name), how)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        raise CoprBackendError(f"cannot write {path}: {error.strerror}") from error
    print(f"the key of {name} is in {path}, encrypted")
    return Exit.OK


def take(config: Config, name: str, path: Path, passphrase_file: Path | None) -> int:
    """Make the key in an export the current one of a project."""
    if not path.is_file():
        raise CoprBackendError(f"{path} is not there: name what `key export` wrote")
    project = _project(name)
    key = _keys(config).take(project, path.absolute(), passphrase_file)
    _tell_readers(config, project)
    print(f"{project} signs with {key.fingerprint} from now on")
    return Exit.OK


def _backend(config: Config) -> object:
    identity = Identity.of(config)
    if identity:
        identity.assume()
    return sign.backend(config)


def _keys(config: Config) -> GpgBackend:
    found = _backend(config)
    if not isinstance(found, GpgBackend):
        raise CoprBackendError("the keys are kept by the signing host: use its own tools")
    return found


def _project(name: str) -> Project:
    owner, slash, rest = name.partition("/")
    try:
        if slash:
            return Project(component(owner, "owner"), component(rest, "project"))
    except ProtocolError:
        pass
    raise CoprBackendError(f"{name[:100]!r} is no project: write OWNER/PROJECT")


def _projects(keys: GpgBackend, name: str | None) -> list[Project]:
    if name is None:
        return keys.store.projects()
    project = _project(name)
    if keys.store.current(project) is None:
        raise CoprBackendError(f"{project} has no key yet: its first build makes one")
    return [project]


def _published(config: Config) -> list[Project]:
    """All projects that have published something."""
    found = {
        Project.of(path.parent.parent.parent.name, path.parent.parent.name)
        for path in config.destdir.glob("*/*/*/repodata")
    }
    return sorted(found)


def _tell_readers(config: Config, project: Project) -> None:
    """Have all public keys in `pubkey.gpg`."""
    directories = {repo.parent.name for repo in again.repositories(config, project)}
    for dirname in sorted({project.name, *directories}):
        signer = sign.signer(config, project.owner, dirname)
        if signer:
            signer.prepare()
