"""Where actions work: the directory of results, and how each path in it is checked."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from backend import layout
from backend.exceptions import ActionError, InfrastructureError, ToolError
from backend.repository import Policy
from backend.sign import ProjectSigner

#: Entries of a chroot's directory that are no results.
_RESERVED = {"repodata", layout.DEVEL, "appdata", "cache", "tmp", layout.COMPS}


def _plain(_repo: Path) -> Policy:
    """As the defaults are."""
    return Policy()


def _nobody(_owner: str, _name: str) -> ProjectSigner | None:
    """Signing is off."""
    return None


@dataclass(frozen=True, kw_only=True)
class Yard:
    """`frontend_url` is asked for files that actions name; `say` is told what was left out;
    `policy` knows how a chroot's directory is published, `signer` who signs for a project (of
    an owner and a name), if anybody does."""

    destdir: Path
    results_url: str
    frontend_url: str
    say: Callable[[str], None]
    policy: Callable[[Path], Policy] = _plain
    signer: Callable[[str, str], ProjectSigner | None] = _nobody

    def path(self, *parts: str) -> Path:
        """A path below the results. `parts` are checked names; a symlink that leads out of the
        results is refused here."""
        path = self.destdir.joinpath(*parts)
        root = os.path.realpath(self.destdir)
        if not f"{os.path.realpath(path.parent)}/".startswith(f"{root}/"):
            raise ActionError(f"{'/'.join(parts)} leads out of the results: refused")
        return path

    def result(self, repo: Path, name: str) -> Path:
        """A result directory in a chroot's directory."""
        if name in _RESERVED:
            raise ActionError(f"{name!r} is no result directory: refused")
        return repo / name

    def devel_url(self, devel: bool, *parts: str) -> str:
        """`devel_url` of `repository.publish` for a chroot; empty for ordinary projects."""
        if not devel:
            return ""
        return "/".join([self.results_url, *(quote(part, safe="@:+~^") for part in parts)])


@contextlib.contextmanager
def disk(path: Path) -> Iterator[None]:
    """Troubles with the disk or a tool are worth another try."""
    try:
        yield
    except (OSError, ToolError, shutil.Error) as error:
        raise InfrastructureError(f"{path}: {error}") from error


def remove(path: Path) -> None:
    """Remove a directory, or what is left of it."""
    with disk(path):
        if path.is_symlink() or path.is_file():
            path.unlink(missing_ok=True)
        elif path.exists():
            (path / layout.SUCCESS).unlink(missing_ok=True)  # no half result is ever published
            shutil.rmtree(path)
