"""Reads the identity of an RPM file that a build has left, without librpm.

Every number in it comes from a stranger: what does not fit, is larger than any real package, or
could be read in two ways is refused. The digests that the package carries are checked.
"""

import hashlib
import itertools
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from backend.exceptions import BuildError

LEAD = 96
_MAGIC = b"\x8e\xad\xe8\x01"
_INTRO = struct.Struct(">4s4xII")
_ENTRY = struct.Struct(">IIII")
#: Most entries, and most bytes, of a header: packages of 200,000 files have less.
MOST_ENTRIES = 10_000
MOST_BYTES = 64 * 1024**2
_CHUNK = 1024**2

NAME, VERSION, RELEASE, EPOCH, ARCH = 1000, 1001, 1002, 1003, 1022
NOSOURCE, NOPATCH, REQUIRENAME, SOURCEPACKAGE = 1051, 1052, 1049, 1106
REQUIREFLAGS, REQUIREVERSION = 1048, 1050
_PAYLOAD_DIGEST, _PAYLOAD_ALGORITHM = 5092, 5093
_SIG_MD5, _SIG_SHA1, _SIG_SHA256 = 1004, 269, 273
_IMMUTABLE, _SIG_REGION = 63, 62
_INT32, _STRING, _BINARY, _STRINGS, _I18N = 4, 6, 7, 8, 9
_ALGORITHMS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
_RPMLIB, _LESS, _GREATER, _SAME = 1 << 24, 2, 4, 8


@dataclass(frozen=True, kw_only=True)
class Header:
    """The tags of one package's header."""

    tags: Mapping[int, tuple[int, int, bytes]]

    def text(self, tag: int) -> str:
        """One string; empty if the tag is missing or of another type."""
        kind, _, data = self.tags.get(tag, (0, 0, b""))
        if kind not in (_STRING, _I18N):
            return ""
        return data.partition(b"\0")[0].decode("utf-8", "replace")

    def texts(self, tag: int) -> list[str]:
        """A list of strings."""
        kind, count, data = self.tags.get(tag, (0, 0, b""))
        if kind != _STRINGS:
            return []
        return [one.decode("utf-8", "replace") for one in data.split(b"\0", count)[:count]]

    def numbers(self, tag: int) -> list[int]:
        """A list of 32 bit numbers."""
        kind, count, data = self.tags.get(tag, (0, 0, b""))
        if kind != _INT32 or count * 4 > len(data):
            return []
        return [value for (value,) in struct.iter_unpack(">I", data[: count * 4])]

    @property
    def epoch(self) -> int | None:
        """None if the package has none."""
        return next(iter(self.numbers(EPOCH)), None)

    @property
    def source(self) -> bool:
        """It is a source package."""
        return SOURCEPACKAGE in self.tags

    @property
    def partial(self) -> bool:
        """Some of its sources or patches are not inside (nosrc)."""
        return NOSOURCE in self.tags or NOPATCH in self.tags

    def requires(self) -> list[str]:
        """What it requires, as rpm prints it; features of rpm itself left out."""
        names, versions = self.texts(REQUIRENAME), self.texts(REQUIREVERSION)
        lines = []
        for name, version, flags in zip(names, versions, self.numbers(REQUIREFLAGS), strict=False):
            sense = "".join(
                sign for bit, sign in ((_LESS, "<"), (_GREATER, ">"), (_SAME, "=")) if flags & bit
            )
            if not flags & _RPMLIB and not name.startswith("rpmlib("):
                lines.append(f"{name} {sense} {version}" if sense and version else name)
        return list(dict.fromkeys(lines))


def read(path: Path, *, check: bool = True) -> Header:
    """The header of an RPM file that nobody writes to any more.

    Raises BuildError if it is none, is damaged, or is not what rpmbuild makes.
    """
    try:
        with path.open("rb") as file:
            return _read(file, check)
    except (ValueError, struct.error) as error:
        raise BuildError(f"refused result {path.name!a}: {error}") from error


def _read(file: BinaryIO, check: bool) -> Header:
    if file.read(LEAD)[:4] != b"\xed\xab\xee\xdb":
        raise ValueError("no RPM package")
    signature, raw = _section(file, _SIG_REGION)
    file.seek(-len(raw) % 8, os.SEEK_CUR)
    header, raw = _section(file, _IMMUTABLE)
    if check:
        _check(file, signature, header, raw)
    return header


def _section(file: BinaryIO, region: int) -> tuple[Header, bytes]:
    intro = file.read(_INTRO.size)
    magic, count, size = _INTRO.unpack(intro)
    if magic != _MAGIC or not 0 < count <= MOST_ENTRIES or size > MOST_BYTES:
        raise ValueError("damaged header")
    index, data = file.read(count * _ENTRY.size), file.read(size)
    if len(index) != count * _ENTRY.size or len(data) != size:
        raise ValueError("truncated")
    entries = list(_ENTRY.iter_unpack(index))
    _check_region(entries[0], region, count, data)
    bounds = sorted({offset for _, _, offset, _ in entries[1:]} | {size})
    ends = dict(itertools.pairwise(bounds))
    tags: dict[int, tuple[int, int, bytes]] = {}
    for tag, kind, offset, number in entries[1:]:
        if tag in tags or offset > size or not 0 < number <= size:
            raise ValueError(f"tag {tag} of its header is odd")
        tags[tag] = (kind, number, data[offset : ends.get(offset, size)])
    return Header(tags=tags), intro + index + data


def _check_region(first: tuple[int, ...], region: int, count: int, data: bytes) -> None:
    """All entries must be in the region that the digests cover: then there are no others."""
    tag, kind, offset, number = first
    if (tag, kind, number) != (region, _BINARY, 16) or offset + 16 > len(data):
        raise ValueError("its header has no region")
    _, _, back, _ = struct.unpack(">IIiI", data[offset : offset + 16])
    if -back != count * _ENTRY.size:
        raise ValueError("its header has entries outside its region")


def _check(file: BinaryIO, signature: Header, header: Header, raw: bytes) -> None:
    sums = {
        _SIG_SHA256: hashlib.sha256(raw).hexdigest(),
        _SIG_SHA1: hashlib.sha1(raw, usedforsecurity=False).hexdigest(),
    }
    known = [tag for tag in sums if tag in signature.tags]
    if not known or any(signature.text(tag) != sums[tag] for tag in known):
        raise ValueError("damaged: the digest of its header is wrong or missing")
    whole = hashlib.md5(raw, usedforsecurity=False)
    algorithm = _ALGORITHMS.get((header.numbers(_PAYLOAD_ALGORITHM) or [0])[0], "")
    wanted = (header.texts(_PAYLOAD_DIGEST) or [""])[0] if algorithm else ""
    payload = hashlib.new(algorithm or "md5", usedforsecurity=False)
    md5 = signature.tags.get(_SIG_MD5, (0, 0, b""))[2][:16]
    while data := file.read(_CHUNK):
        if not wanted:
            whole.update(data)
        payload.update(data)
    good = payload.hexdigest() == wanted if wanted else md5 == whole.digest()
    if not good:
        raise ValueError("damaged: the digest of its content is wrong or missing")
