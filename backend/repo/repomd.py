"""repomd.xml: the list of a repository's metadata files, and the further files that are in it."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from backend.disk import sync, write_file
from backend.layout import COMPS
from backend.repo.chunks import KINDS
from backend.repo.codec import GZIP
from backend.repo.writer import Written

NAME, SIGNATURE = "repomd.xml", "repomd.xml.asc"
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<repomd xmlns="http://linux.duke.edu/metadata/repo"'
    ' xmlns:rpm="http://linux.duke.edu/metadata/rpm">\n'
    "  <revision>{revision}</revision>\n"
)
#: createrepo_c 1.1 and later writes all of it in one line.
_RECORD = re.compile(rb'<data type="([^"]+)">.*?</data>', re.DOTALL)
_HREF = re.compile(rb'<location [^>]*href="(?:[^"]*/)?([^"/]+)"')
#: File in the chroot's directory → its types in repomd.xml, uncompressed and compressed.
SOURCES: Mapping[str, tuple[str, str]] = {
    COMPS: ("group", "group_gz"),
    "modules.yaml": ("", "modules"),
    "updateinfo.xml": ("", "updateinfo"),
}
#: What createrepo_c makes besides, which would not be true any more.
_DERIVED = tuple(f"{kind}_{suffix}" for kind in KINDS for suffix in ("db", "zck"))


@dataclass(frozen=True, kw_only=True)
class Extra:
    """A further metadata file: its record in repomd.xml, and where the file is."""

    type: str
    record: bytes
    path: Path


def record(
    type_: str, path: Path, digest: str, size: int, *, when: int, opened: tuple[int, str] = (0, "")
) -> bytes:
    """The record of a file; `opened` is its size and its SHA-256 (if known) uncompressed."""
    lines = [
        f"  <data type={quoteattr(type_)}>",
        f'    <checksum type="sha256">{digest}</checksum>',
    ]
    if opened[1]:
        lines.append(f'    <open-checksum type="sha256">{opened[1]}</open-checksum>')
    lines += [
        f'    <location href="repodata/{path.name}"/>',
        f"    <timestamp>{when}</timestamp>",
        f"    <size>{size}</size>",
    ]
    if opened[0]:
        lines.append(f"    <open-size>{opened[0]}</open-size>")
    return "\n".join([*lines, "  </data>\n"]).encode()


def render(written: Sequence[Written], extras: Sequence[Extra], now: int) -> bytes:
    """The whole file."""
    body = [
        record(w.kind, w.path, w.digest, w.size, when=now, opened=(w.opened, "")) for w in written
    ]
    head = _HEAD.format(revision=now).encode()
    return head + b"".join([*body, *(extra.record for extra in extras)]) + b"</repomd>\n"


def referenced(repomd: Path) -> set[str]:
    """Names of the files that a repomd.xml refers to; none if it cannot be read."""
    try:
        content = repomd.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {name.decode("utf-8", "replace") for name in _HREF.findall(content)}


def records(repodata: Path) -> list[Extra]:
    """What a repomd.xml lists, as far as it is there."""
    try:
        content = (repodata / NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for match in _RECORD.finditer(content):
        if href := _HREF.search(match[0]):
            path = repodata / href[1].decode("utf-8", "replace")
            type_ = match[1].decode("utf-8", "replace")
            found.append(Extra(type=type_, record=b"  %s\n" % match[0], path=path))
    return [extra for extra in found if extra.path.is_file()]


def carried(repodata: Path, without: set[str]) -> list[Extra]:
    """What somebody has added to the live metadata, e.g. with modifyrepo_c; it is kept."""
    others = {*KINDS, *_DERIVED, *without}
    return [extra for extra in records(repodata) if extra.type not in others]


def stamps(repo: Path) -> dict[str, str]:
    """What tells the sources of further files apart from those of another time."""
    found = {}
    for name in SOURCES:
        path = repo / name
        if path.is_file():
            status = path.stat()
            found[name] = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
    return found


def extras(
    repo: Path, repodata: Path, private: Path, before: Mapping[str, str] | None
) -> list[Extra]:
    """The further files of the next state: made of their sources in `repo`, or kept.

    `before` are the `stamps` of the live state (None: unknown): what is made of an unchanged
    file stays, what is made of a file that is gone goes.
    """
    now = stamps(repo)
    known = {COMPS: ""} if before is None else before
    changed = {name for name in SOURCES if now.get(name) != known.get(name)}
    ours = {type_ for name in changed for type_ in SOURCES[name] if type_}
    kept = carried(repodata, without=ours)
    made = [extra for name in sorted(changed & set(now)) for extra in _make(repo / name, private)]
    return [*kept, *made]


def _make(source: Path, private: Path) -> list[Extra]:
    plain, packed = SOURCES[source.name]
    content, when = source.read_bytes(), int(source.stat().st_mtime)
    opened = (len(content), hashlib.sha256(content).hexdigest())
    found = []
    if plain:
        path, digest, size = _store(content, source.name, private)
        line = record(plain, path, digest, size, when=when)
        found.append(Extra(type=plain, record=line, path=path))
    path, digest, size = _store(GZIP.pack(content), f"{source.name}.gz", private)
    line = record(packed, path, digest, size, when=when, opened=opened)
    return [*found, Extra(type=packed, record=line, path=path)]


def _store(content: bytes, name: str, private: Path) -> tuple[Path, str, int]:
    digest = hashlib.sha256(content).hexdigest()
    path = private / f"{digest}-{name}"
    write_file(path, content)
    sync(path)
    return path, digest, len(content)
