"""WHERE the system of a build comes from: the host, or unpacked trees, one for each chroot.

A tree is named in the configuration (`root`, `roots`), or lies in `statedir/roots`, where
`copr_be.py root make` puts it: `NAME/about.json` names the tree beside it that counts, and is
replaced by one rename. So half a tree is never used, and a build keeps the tree it began with.
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import chroot as chroots
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import ProtocolError

ABOUT = "about.json"


@dataclass(frozen=True, kw_only=True)
class Served:
    """The tree of one chroot, None for the host; `about` tells how it was made, if we did."""

    tree: Path | None
    about: Mapping[str, Any]


def directory(config: Config) -> Path:
    """Where `root make` puts trees."""
    return config.statedir / "roots"


def own(config: Config) -> Chroot:
    """The chroot of the main root: as configured, or as that system calls itself."""
    if config.builder_chroot:
        return Chroot.parse(config.builder_chroot)
    base = Path(config.builder_root or "/")
    text = ""
    for name in ("etc/os-release", "usr/lib/os-release"):
        path = base / name
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            break
    return chroots.from_os_release(text, platform.machine())


def served(config: Config) -> dict[Chroot, Served]:
    """Chroot → what it is built in; the main one comes first. What is configured wins."""
    found = {own(config): Served(tree=config.builder_root or None, about={})}
    for name, path in config.builder_roots.items():
        found[Chroot.parse(name)] = Served(tree=path, about={})
    for name, about in made(config).items():
        chroot = Chroot.parse(name)
        if chroot not in found or not (config.builder_root or config.builder_roots.get(name)):
            found[chroot] = Served(tree=directory(config) / name / str(about["tree"]), about=about)
    return found


def made(config: Config) -> dict[str, dict[str, Any]]:
    """Name → how it was made, of all roots in statedir."""
    top = directory(config)
    found = {}
    for name in sorted(one.name for one in top.iterdir()) if top.is_dir() else ():
        try:
            Chroot.parse(name)
        except ProtocolError:
            continue
        about = read(top / name)
        if about:
            found[name] = about
    return found


def read(root: Path) -> dict[str, Any]:
    """How a root in statedir was made; empty if there is none."""
    try:
        about = json.loads((root / ABOUT).read_text(encoding="utf-8"))
        usable = isinstance(about, dict) and (root / about["tree"]).is_dir()
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return about if usable else {}


@contextlib.contextmanager
def held(tree: Path | None) -> Iterator[None]:
    """While it lasts, `root update` and `root remove` leave the tree alone. Raises OSError when
    it has gone meanwhile."""
    if tree is None:
        yield
        return
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        if not tree.is_dir():  # we have waited for its end
            raise FileNotFoundError(errno.ENOENT, "it was removed", str(tree))
        yield
    finally:
        os.close(fd)
