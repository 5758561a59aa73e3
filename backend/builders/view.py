"""WHAT a build sees: bubblewrap's options for the system's files, of the host or of a root.

Of the host that is `/usr`, an allowlist of `/etc` and little else. A root is an unpacked tree
that holds nothing but a distribution, and is shown whole, read-only. /etc is made by `etc`.
"""

import itertools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from backend.exceptions import BuildError, ToolError

HOME = "/builddir"
#: An option of bubblewrap; bytes stand for the number of a descriptor that has them.
Word = str | bytes
_MOST_LINKS = 5
#: Of one directory of a root, of those whose entries are shown one by one.
MOST_NAMES = 1000
INNER_ID = 1000

#: State of installed tools, not secret: TeX formats, XML catalogs, the package list.
STATE = """
/var/cache/fontconfig /var/cache/ldconfig /var/lib/dpkg /var/lib/ghc
/var/lib/sgml-base /var/lib/texmf /var/lib/xml-core
"""
#: State of a root, all of it.
ALL_STATE = "/opt /var/cache /var/lib"
EMPTY = "/boot /home /media /mnt /opt /root /srv /var/cache /var/lib /var/log /var/spool"


@dataclass(frozen=True, kw_only=True)
class Root:
    """An unpacked tree: `trees` lie on the machine, the first on top of the others.

    `shown` is where they are found, as one, when bubblewrap starts.
    """

    trees: tuple[Path, ...]
    shown: str

    def names(self, directory: str) -> list[str]:
        """What is in one directory of it. There cannot be any number: each costs the machine."""
        found: set[str] = set()
        for tree in self.trees:
            if stat.S_ISDIR(_mode(tree, directory)):
                with os.scandir(tree / directory) as entries:
                    found.update(entry.name for entry in itertools.islice(entries, MOST_NAMES + 1))
            if len(found) > MOST_NAMES:
                text = f"the root's /{directory} has more than {MOST_NAMES} entries"
                if len(self.trees) > 1:
                    raise BuildError(f"dependencies: with what they install {text}")
                raise ToolError(f"{text}: remove some from {tree / directory}")
        return sorted(found)

    def lookup(self, path: str) -> Path | None:
        """Where an entry lies on the machine; None if there is none.

        Packages of strangers may have written to it: no link on the way is followed, and what
        is neither file, directory nor link counts as missing.
        """
        for tree in self.trees:
            mode = _mode(tree, path)
            if mode == _BARRED:
                return None
            if mode:
                usual = stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
                return tree / path if usual else None
        return None

    def source(self, path: str) -> str:
        """The same as bubblewrap finds it; empty unless it is a plain file or directory."""
        found = self.lookup(path)
        plain = found is not None and not found.is_symlink()
        return f"{self.shown.rstrip('/')}/{path}" if plain else ""


def literal(target: str) -> str:
    """What a link says, as an option: what begins with `{}` would be taken for the area."""
    return f"./{target}" if target.startswith("{}") else target


_BARRED = -1


def _mode(tree: Path, path: str) -> int:
    """Mode of an entry, 0 if it is missing, _BARRED if the way there is no plain directory."""
    *way, last = path.split("/")
    place = tree
    try:
        for name in way:
            place /= name
            if not stat.S_ISDIR(place.lstat().st_mode):
                return _BARRED
        return (place / last).lstat().st_mode
    except OSError:
        return 0


HOST = Root(trees=(Path("/"),), shown="/")


def system(root: Root, *, shell: str = "") -> list[Word]:
    """Everything but /etc. bash takes the place of `shell`, as `other_shell` finds it."""
    usr, bash = root.source("usr"), root.source("usr/bin/bash")
    if not usr:
        raise ToolError(f"{root.trees[-1]} is no root: it has no directory usr")
    options: list[Word] = ["--ro-bind", usr, "/usr"]
    if shell and bash:
        options += ["--ro-bind", bash, f"/{shell}"]
    for name in [one for one in root.names("") if one.startswith("lib") or one in ("bin", "sbin")]:
        found, tree = root.lookup(name), root.source(name)
        if found is not None and found.is_symlink():
            options += ["--symlink", literal(str(found.readlink())), f"/{name}"]
        elif tree:
            options += ["--ro-bind", tree, f"/{name}"]
    options += ["--proc", "/proc", "--dev", "/dev", "--size", str(1024**3), "--tmpfs", "/dev/shm"]  # noqa: S108
    state = (STATE if root == HOST else ALL_STATE).split()
    for path in EMPTY.split():
        options += [] if path in state else ["--dir", path]
    for path in state:
        source = root.source(path.lstrip("/"))
        options += ["--ro-bind-try", source, path] if source else ["--dir", path]
    options += ["--ro-bind-try", "/sys/devices/system/cpu", "/sys/devices/system/cpu"]
    options += ["--size", str(64 * 1024**2), "--tmpfs", "/run", "--symlink", "../run", "/var/run"]
    options += ["--dir", "/run/lock", "--symlink", "../run/lock", "/var/lock"]
    options += ["--bind", "{}/tmp", "/tmp", "--bind", "{}/vartmp", "/var/tmp"]  # noqa: S108
    return [*options, "--bind", "{}/build", HOME]


def other_shell(root: Root) -> str:
    """The file that is /bin/sh, where it is not bash and bash is there: rpm's own scripts need it.

    Links are followed here: bubblewrap since 0.11 mounts nothing on a link.
    """
    path = "usr/bin/sh"
    for _ in range(_MOST_LINKS):
        found = root.lookup(path)
        if found is None or not found.is_symlink():
            break
        path = os.path.normpath(Path("/", path).parent / found.readlink()).lstrip("/")
        if path.startswith("bin/") and not root.source("bin"):
            path = f"usr/{path}"
    other = path != "usr/bin/bash" and root.source(path) and root.source("usr/bin/bash")
    return path if other else ""
