"""WHAT a build sees: bubblewrap's options for the system's files, of the host or of a root.

Of the host that is `/usr`, an allowlist of `/etc` and little else. A root is an unpacked tree
that holds nothing but a distribution, and is shown whole, read-only.
"""

import contextlib
import fnmatch
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from backend.exceptions import ToolError

HOME = "/builddir"
#: An option of bubblewrap; bytes stand for the number of a descriptor that has them.
Word = str | bytes
#: Bytes that are copied into the sandbox instead of being mounted, and how many files at most.
_MOST_COPIED = 128 * 1024
_MOST_ENTRIES = 10
_MOST_LINKS = 5
INNER_ID = 1000

#: Entries of /etc that tools need and that hold no secrets; glob patterns.
ETC = """
alternatives bash.bashrc bindresvport.blacklist ca-certificates* crypto-policies
debian_version dictionaries-common dpkg emacs ethertypes fedora-release fonts gai.conf ghc groff
gtk-2.0 gtk-3.0 host.conf ImageMagick-* inputrc issue java java-* jvm* ld.so.cache ld.so.conf
ld.so.conf.d locale.alias locale.conf locale.gen localtime login.defs lsb-release lynx magic
magic.mime man_db.conf manpath.config maven mime.types mke2fs.conf netconfig networks
ocamlfind.conf os-release papersize perl php pki/ca-trust pki/tls/cert.pem pki/tls/certs profile
protocols python* R redhat-release rpc rpm rpmlint services sgml shells ssl/certs
ssl/openssl.cnf system-release terminfo texmf timezone X11 xattr.conf xdg xml
"""

_ETC = re.compile("|".join(fnmatch.translate(pattern) for pattern in ETC.split()))

#: State of installed tools, not secret: TeX formats, XML catalogs, the package list.
STATE = """
/var/cache/fontconfig /var/cache/ldconfig /var/lib/dpkg /var/lib/ghc
/var/lib/sgml-base /var/lib/texmf /var/lib/xml-core
"""
#: State of a root, all of it.
ALL_STATE = "/opt /var/cache /var/lib"
#: In /etc these are written by ourselves.
OWN = "passwd group nsswitch.conf hostname hosts resolv.conf mtab shadow gshadow passwd- group-"

EMPTY = "/boot /home /media /mnt /opt /root /srv /var/cache /var/lib /var/log /var/spool"

NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"


@dataclass(frozen=True, kw_only=True)
class Root:
    """An unpacked tree: `trees` lie on the machine, the first on top of the others.

    `shown` is where they are found, as one, when bubblewrap starts.
    """

    trees: tuple[Path, ...]
    shown: str

    def names(self, directory: str) -> list[str]:
        """What is in one directory of it."""
        found: set[str] = set()
        for tree in self.trees:
            if stat.S_ISDIR(_mode(tree, directory)):
                found.update(path.name for path in (tree / directory).iterdir())
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
            options += ["--symlink", str(found.readlink()), f"/{name}"]
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


def etc(root: Root, *, net: bool) -> list[Word]:
    """The system's files of /etc, and those that are made for the build.

    They are read once, and again when one of them has changed.
    """
    names = _allowed() if root == HOST else [n for n in root.names("etc") if n not in OWN.split()]
    known = _known.get(root)
    if known is None or known.names != names or known.stamps != _stamps(known.paths):
        known = _known[root] = _read(root, names)
    words = list(known.words)
    for name, text in _files(root, net=net).items():
        words += ["--file", text.encode(), f"/etc/{name}"]
    return [*words, "--symlink", "../proc/self/mounts", "/etc/mtab"]


@dataclass(frozen=True, kw_only=True)
class _Known:
    """Options, and what they were made from."""

    names: list[str]
    words: list[Word]
    paths: list[str]
    stamps: list[object]


_known: dict[Root, _Known] = {}


def _read(root: Root, names: list[str]) -> _Known:
    words: list[Word] = []
    paths: list[str] = []
    for name in names:
        words += _host_entry(name, paths) if root == HOST else _entry(root, f"etc/{name}", paths)
    return _Known(names=names, words=words, paths=paths, stamps=_stamps(paths))


def _stamps(paths: list[str]) -> list[object]:
    found: list[object] = []
    for path in paths:
        with contextlib.suppress(OSError):
            info = os.lstat(path)
            found.append((info.st_mtime_ns, info.st_ino, info.st_size, info.st_mode))
    return found


def _allowed() -> list[str]:
    """Names below /etc that the allowlist has."""
    found = []
    for place in ("", "pki", "pki/tls", "ssl"):
        with contextlib.suppress(OSError):
            found += [f"{place}/{name}".lstrip("/") for name in os.listdir(f"/etc/{place}")]  # noqa: PTH208
    return sorted(filter(_ETC.fullmatch, found))


def _files(root: Root, *, net: bool) -> dict[str, str]:
    """Name in /etc → content."""
    return {
        "passwd": _accounts(root, "passwd", f"builder:x:{INNER_ID}:{INNER_ID}::{HOME}:/bin/bash\n"),
        "group": _accounts(root, "group", f"builder:x:{INNER_ID}:\n"),
        "nsswitch.conf": NSSWITCH,
        "hostname": "builder\n",
        "hosts": "127.0.0.1 localhost builder\n::1 localhost\n",
        "resolv.conf": _text(Path("/etc/resolv.conf")) if net else "",
    }


def _host_entry(name: str, paths: list[str]) -> list[Word]:
    path = Path("/etc", name)
    paths.append(str(path))
    target = str(path.readlink()) if path.is_symlink() else ""
    if "/usr/" in target or target.startswith("../usr"):
        return ["--symlink", target, str(path)]
    return _shown(path, str(path), str(path), paths)


def _entry(root: Root, name: str, paths: list[str]) -> list[Word]:
    """One entry of the tree, as it is there: a link stays a link."""
    path = root.lookup(name)
    if path is not None and path.is_symlink():
        return ["--symlink", str(path.readlink()), f"/{name}"]
    source = root.source(name)
    return _shown(path, source, f"/{name}", paths) if path and source else []


def _shown(path: Path, source: str, inside: str, paths: list[str]) -> list[Word]:
    """A directory is mounted. A file, and what is in a small directory, is copied: bubblewrap
    reads the whole list of mounts again for each mount, which soon takes longer than all else."""
    with contextlib.suppress(OSError):
        copied = _copied(path, inside, [_MOST_COPIED], paths)
        return ["--ro-bind-try", source, inside] if copied is None else copied
    return []


def _copied(path: Path, inside: str, room: list[int], paths: list[str]) -> list[Word] | None:
    """The options that make a copy, of what everybody may read; None if it is too much."""
    info = path.stat()
    room[0] -= max(info.st_size, _MOST_COPIED // _MOST_ENTRIES)
    if room[0] < 0:
        return None
    paths.append(str(path))
    if stat.S_ISREG(info.st_mode):
        if not info.st_mode & stat.S_IROTH:
            return []
        return ["--perms", f"{info.st_mode & 0o755 | 0o400:o}", "--file", path.read_bytes(), inside]
    if not stat.S_ISDIR(info.st_mode) or not info.st_mode & stat.S_IXOTH:
        return []
    words: list[Word] = ["--dir", inside]
    for one in sorted(path.iterdir()):
        if one.is_symlink():
            room[0] -= _MOST_COPIED // _MOST_ENTRIES
            words += ["--symlink", str(one.readlink()), f"{inside}/{one.name}"]
            continue
        more = _copied(one, f"{inside}/{one.name}", room, paths)
        if more is None:
            return None
        words += more
    return words


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


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _accounts(root: Root, name: str, own: str) -> str:
    """The system accounts, which carry no secrets, and the builder; no people."""
    found = root.lookup(f"etc/{name}")
    lines = []
    for line in _text(found).splitlines() if found and not found.is_symlink() else ():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdigit() and not 1000 <= int(fields[2]) < 65534:
            lines.append(":".join([fields[0], "x", *fields[2:]]))
    return "".join(line + "\n" for line in lines) + own
