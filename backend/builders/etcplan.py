"""What is in /etc of a build: of the host an allowlist, of a root all, and files of our own."""

import contextlib
import errno
import fnmatch
import hashlib
import itertools
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.builders.view import HOME, HOST, INNER_ID, Root

#: Entries of /etc that tools need and that hold no secrets; glob patterns.
ALLOWED = """
alternatives bash.bashrc bindresvport.blacklist ca-certificates* crypto-policies
debian_version dictionaries-common dpkg emacs ethertypes fedora-release fonts gai.conf ghc groff
gtk-2.0 gtk-3.0 host.conf ImageMagick-* inputrc issue java java-* jvm* ld.so.cache ld.so.conf
ld.so.conf.d locale.alias locale.conf locale.gen localtime login.defs lsb-release lynx magic
magic.mime man_db.conf manpath.config maven mime.types mke2fs.conf netconfig networks
ocamlfind.conf os-release papersize perl php pki/ca-trust pki/tls/cert.pem pki/tls/certs profile
protocols python* R redhat-release rpc rpm rpmlint services sgml shells ssl/certs
ssl/openssl.cnf system-release terminfo texmf timezone X11 xattr.conf xdg xml
"""
_ALLOWED = re.compile("|".join(fnmatch.translate(pattern) for pattern in ALLOWED.split()))
#: Directories of which only some entries are shown.
PARTED = ("", "pki", "pki/tls", "ssl")
#: These are written by ourselves, or by nobody.
OWN = {"passwd", "group", "nsswitch.conf", "hostname", "hosts", "resolv.conf", "mtab"}
OWN |= {"shadow", "gshadow", "passwd-", "group-"}
RESOLVER = Path("/etc/resolv.conf")
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
#: What is larger than this, or has more entries, is mounted instead of copied.
_MOST_BYTES, _MOST_ENTRIES = 128 * 1024, 10
#: Of these errors the entry is innocent.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
#: Bytes of a text that are read.
_MOST_TEXT = 1024**2
#: So often it is read again when it changes meanwhile.
_TRIES = 5
#: So many plans are known.
_KNOWN = 16


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One entry of the directory, by its path in it.

    `source` is the file to copy, or what a link says, or what is mounted, as bubblewrap finds it.
    """

    path: str
    kind: int
    source: str = ""
    mode: int = 0o755
    text: str | None = None
    mounted: bool = False

    def content(self) -> bytes:
        """Of a file. Raises OSError if it is gone meanwhile, or closed."""
        return Path(self.source).read_bytes() if self.text is None else self.text.encode()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Its pieces, and of what files and directories they were made."""

    key: str
    pieces: list[Piece]
    paths: list[str]
    stamps: list[object]

    @property
    def files(self) -> int:
        """How many are copied."""
        return sum(stat.S_ISREG(piece.kind) and not piece.mounted for piece in self.pieces)

    def holds(self) -> bool:
        """Nothing of it has changed since."""
        return self.stamps == _stamps(self.paths)


_plans: dict[tuple[Root, bool], Plan] = {}


def plan(root: Root, *, net: bool) -> Plan:
    """It is made once, and again when a file or directory that it was made of has changed."""
    known = _plans.get((root, net))
    if known is None or not known.holds():
        _plans.pop((root, net), None)
        while len(_plans) >= _KNOWN:
            del _plans[next(iter(_plans))]
        known = _plans[root, net] = _read(root, net=net)
    return known


def _stamps(paths: list[str]) -> list[object]:
    found: list[object] = []
    for path in paths:
        try:
            info = os.lstat(path)
            found.append(_stamp(info))
            if stat.S_ISLNK(info.st_mode):  # as resolv.conf is, often
                found.append(_stamp(os.stat(path)))  # noqa: PTH116
        except OSError:
            found.append(None)
    return found


def _stamp(info: os.stat_result) -> object:
    times = info.st_mtime_ns, info.st_ctime_ns  # the first can be set to anything
    return (*times, info.st_dev, info.st_ino, info.st_size, info.st_mode)


def _read(root: Root, *, net: bool) -> Plan:
    """What changes while it is read must not pass for what is there later."""
    for _ in range(_TRIES):
        pieces, paths = _pieces(root, net=net)
        stamps = _stamps(paths)
        if _pieces(root, net=net) == (pieces, paths):
            break
    else:  # for this time
        stamps = []
    # A power cut may leave files without their content: none is used that was made before one.
    made_of = repr((_text(Path("/proc/sys/kernel/random/boot_id")), pieces, stamps))
    # Packages of strangers may have made the root: no two may come to the same.
    key = hashlib.sha256(made_of.encode()).hexdigest()[:32]
    return Plan(key=key, pieces=pieces, paths=paths, stamps=stamps)


def _pieces(root: Root, *, net: bool) -> tuple[list[Piece], list[str]]:
    paths = [tree / "etc" / name for tree in root.trees for name in ("", "passwd", "group")]
    paths.append(RESOLVER)
    pieces: list[Piece] = []
    if root == HOST:
        paths += [Path("/etc", name) for name in PARTED]
        names = _allowed()
        for name in PARTED[1:]:
            if any(one.startswith(f"{name}/") for one in names):
                pieces.append(Piece(path=name, kind=stat.S_IFDIR))
        for name in names:
            pieces += _of_host(name, paths)
    else:
        for name in [one for one in root.names("etc") if one not in OWN]:
            pieces += _of_root(root, name, paths)
    for name, text in _files(root, net=net).items():
        pieces.append(Piece(path=name, kind=stat.S_IFREG, mode=0o644, text=text))
    pieces.append(Piece(path="mtab", kind=stat.S_IFLNK, source="../proc/self/mounts"))
    return pieces, list(map(str, paths))


def _allowed() -> list[str]:
    found = []
    for place in PARTED:
        with contextlib.suppress(OSError):
            found += [f"{place}/{name}".lstrip("/") for name in os.listdir(f"/etc/{place}")]  # noqa: PTH208
    return sorted(filter(_ALLOWED.fullmatch, found))


def _files(root: Root, *, net: bool) -> dict[str, str]:
    """Name → content."""
    return {
        "passwd": _accounts(root, "passwd", f"builder:x:{INNER_ID}:{INNER_ID}::{HOME}:/bin/bash\n"),
        "group": _accounts(root, "group", f"builder:x:{INNER_ID}:\n"),
        "nsswitch.conf": NSSWITCH,
        "hostname": "builder\n",
        "hosts": "127.0.0.1 localhost builder\n::1 localhost\n",
        "resolv.conf": _text(RESOLVER) if net else "",
    }


def _of_host(name: str, paths: list[Path]) -> list[Piece]:
    path = Path("/etc", name)
    paths.append(path)
    target = str(path.readlink()) if path.is_symlink() else ""
    if "/usr/" in target or target.startswith("../usr"):
        return [Piece(path=name, kind=stat.S_IFLNK, source=target)]
    return _shown(path, str(path), name, paths)


def _of_root(root: Root, name: str, paths: list[Path]) -> list[Piece]:
    """One entry of the tree, as it is there: a link stays a link."""
    path = root.lookup(f"etc/{name}")
    if path is not None and path.is_symlink():
        return [Piece(path=name, kind=stat.S_IFLNK, source=str(path.readlink()))]
    source = root.source(f"etc/{name}")
    if not (path and source):
        return []
    if len(root.trees) > 1 and root.trees[-1] not in path.parents:
        # Of a layer: whoever wrote it is a stranger, and a directory has entries below, too.
        kind = stat.S_IFMT(path.lstat().st_mode)
        return [Piece(path=name, kind=kind, source=source, mounted=True)]
    return _shown(path, source, name, paths)


def _shown(path: Path, source: str, name: str, paths: list[Path]) -> list[Piece]:
    """Copied, or mounted: bubblewrap reads the whole list of mounts again for each mount."""
    found: list[Path] = []
    try:
        pieces = list(_copied(path, name, [_MOST_BYTES, _MOST_ENTRIES], found))
    except OSError as error:
        if error.errno in _PASSING:
            raise
        return []
    except _TooMuchError:
        kind = path.stat().st_mode
        return [Piece(path=name, kind=stat.S_IFMT(kind), source=source, mounted=True)]
    finally:
        paths += found
    return pieces


class _TooMuchError(Exception):
    """More than is copied."""


def _copied(path: Path, name: str, room: list[int], paths: list[Path]) -> Iterator[Piece]:
    """What everybody may read of it. Links in it stay links; `path` itself may be one."""
    info = path.stat()
    room[0] -= info.st_size
    room[1] -= 1
    if min(room) < 0:
        raise _TooMuchError
    paths.append(path)
    if stat.S_ISREG(info.st_mode) and info.st_mode & stat.S_IROTH:
        mode = info.st_mode & 0o755 | 0o400
        yield Piece(path=name, kind=stat.S_IFREG, source=str(path), mode=mode)
    elif stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_IXOTH:
        yield Piece(path=name, kind=stat.S_IFDIR)
        for one in _entries(path, room[1]):
            inside = f"{name}/{one.name}"
            if one.is_symlink():
                room[1] -= 1
                yield Piece(path=inside, kind=stat.S_IFLNK, source=str(one.readlink()))
            else:
                yield from _copied(one, inside, room, paths)


def _entries(path: Path, most: int) -> list[Path]:
    with os.scandir(path) as entries:
        found = [path / entry.name for entry in itertools.islice(entries, most + 1)]
    if len(found) > most:
        raise _TooMuchError
    return sorted(found)


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(_MOST_TEXT).decode("utf-8", "replace")


def _accounts(root: Root, name: str, own: str) -> str:
    """The system accounts, which carry no secrets, and the builder; no people."""
    found = root.lookup(f"etc/{name}")
    lines = []
    for line in _text(found).split("\n") if found and not found.is_symlink() else ():
        fields = line.split(":")
        if len(fields) < 3 or not re.fullmatch(r"[0-9]{1,10}", fields[2]):
            continue
        if not 1000 <= int(fields[2]) < 65534:
            lines.append(":".join([fields[0], "x", *fields[2:]]))
    return "".join(line + "\n" for line in lines) + own
