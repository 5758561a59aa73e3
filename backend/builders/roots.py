"""WHERE the system of a build comes from: the host, or unpacked trees, one for each chroot.

A tree is named in the configuration (`root`, `roots`), or lies in `statedir/roots`, where
`copr_be.py root make` puts it: `NAME/tree`, with `NAME/about.json` beside it. It is made under
another name and gets its own by one rename, so that half a tree is never used.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import chroot as chroots
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import ProtocolError

TREE = "tree"
ABOUT = "about.json"
#: Beginning of the names of what is being made or removed.
UNFINISHED = ".new-"


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
            found[chroot] = Served(tree=directory(config) / name / TREE, about=about)
    return found


def made(config: Config) -> dict[str, dict[str, Any]]:
    """Name → how it was made, of all roots in statedir."""
    top = directory(config)
    found = {}
    for name in sorted(one.name for one in top.iterdir()) if top.is_dir() else ():
        try:
            Chroot.parse(name)
            about = json.loads((top / name / ABOUT).read_text(encoding="utf-8"))
        except (ProtocolError, OSError, ValueError):
            continue
        if isinstance(about, dict) and (top / name / TREE).is_dir():
            found[name] = about
    return found
