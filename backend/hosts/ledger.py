"""What must survive everything: which machines were made, and what people said of hosts.

<statedir>/hosts/machines.json    machines on demand, noted before they are started
<statedir>/hosts/id               our part of their names
<statedir>/hosts/marks/<name>     a host that is drained, or to be removed, and why
<statedir>/hosts/keys/<name>      the key of its ssh server, if spawn_command told it
<statedir>/hosts/tickets/<name>   its ticket at resalloc
"""

import contextlib
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

from backend import disk
from backend.config import Config
from backend.exceptions import CoprBackendError
from backend.hosts.pool import Machine

DRAIN, REMOVE = "drain", "remove"


def directory(config: Config) -> Path:
    """Where it all is."""
    return config.statedir / "hosts"


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    disk.write_file(temporary, text.encode())
    disk.sync(temporary)
    temporary.replace(path)
    disk.sync(path.parent)


class Ledger:
    """The file of machines. `save` returns when it is on disk."""

    def __init__(self, config: Config) -> None:
        self.path = directory(config) / "machines.json"
        self._last = ""

    def load(self) -> list[Machine]:
        """All machines that may exist; raises CoprBackendError when the file is damaged."""
        try:
            raw = json.loads(self.path.read_text("utf-8"))
            return [Machine.from_dict(entry) for entry in raw]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, OSError) as error:
            raise CoprBackendError(
                f"{self.path} cannot be read: {error}: end its machines by hand, and delete it"
            ) from error

    def save(self, machines: Iterable[Machine]) -> None:
        """Write them; what is there already is not written again."""
        text = json.dumps([machine.to_dict() for machine in machines], indent=1)
        if text != self._last:
            _replace(self.path, text)
            self._last = text


def waits(config: Config) -> bool:
    """True when machines are on record: somebody must look after them."""
    try:
        return (directory(config) / "machines.json").stat().st_size > len("[]")
    except OSError:
        return False


def prefix(config: Config) -> str:
    """How the names of our machines begin, and nobody else's."""
    if config.hosts_prefix:
        return config.hosts_prefix
    path = directory(config) / "id"
    with contextlib.suppress(OSError):
        if text := path.read_text("utf-8").strip():
            return f"copr-be-{text}"
    text = secrets.token_hex(3)
    _replace(path, text)
    return f"copr-be-{text}"


# --- host keys --------------------------------------------------------------------------------


def _keys(config: Config, name: str) -> Path:
    return directory(config) / "keys" / quote(name, safe="@:")


def host_keys(config: Config, name: str) -> Path | None:
    """The known_hosts file of a machine whose spawn_command told its key; else None."""
    path = _keys(config, name)
    return path if path.is_file() else None


def keep_key(config: Config, name: str, host: str, port: int, key: str) -> None:
    """Remember the key of a machine's ssh server."""
    where = host if port == 22 else f"[{host}]:{port}"
    _replace(_keys(config, name), f"{where} {key}\n")


# --- tickets ---------------------------------------------------------------------------------


def _ticket(config: Config, name: str) -> Path:
    return directory(config) / "tickets" / name


def keep_ticket(config: Config, name: str, number: int) -> None:
    """Remember which ticket was taken for a machine."""
    _replace(_ticket(config, name), str(number))


def ticket(config: Config, name: str) -> int:
    """That number; 0 if none was taken."""
    try:
        return int(_ticket(config, name).read_text("utf-8"))
    except (OSError, ValueError):
        return 0


def drop(config: Config, name: str) -> None:
    """A machine is gone: forget what was kept for it."""
    for path in (_keys(config, name), _ticket(config, name), _mark(config, name)):
        with contextlib.suppress(OSError):
            path.unlink()


# --- marks -----------------------------------------------------------------------------------


def marks(config: Config) -> dict[str, tuple[str, str]]:
    """Host → (`drain` or `remove`, when and why)."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for path in (directory(config) / "marks").iterdir():
            if not path.name.startswith("."):
                with contextlib.suppress(OSError):
                    what, _, why = path.read_text("utf-8", "replace").strip().partition(" ")
                    found[unquote(path.name)] = (what, why)
    return found


def mark(config: Config, name: str, what: str, why: str) -> None:
    """Remember it."""
    _replace(_mark(config, name), f"{what} {why}\n")
    with contextlib.suppress(OSError):  # root must not keep the daemon's user out
        status = config.statedir.stat()
        for path in (directory(config), directory(config) / "marks", _mark(config, name)):
            os.chown(path, status.st_uid, status.st_gid)


def unmark(config: Config, name: str) -> None:
    """Forget it."""
    with contextlib.suppress(FileNotFoundError):
        _mark(config, name).unlink()


def _mark(config: Config, name: str) -> Path:
    return directory(config) / "marks" / quote(name, safe="@:")
