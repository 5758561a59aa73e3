"""Reads the identity of an RPM file that a build has left, without librpm.

Every number in it comes from a stranger: what does not fit, is larger than any real package, or
could be read in two ways is refused. The digests that the package carries are checked.
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from backend import rpmtags
from backend.exceptions import BuildError

LEAD = rpmtags.LEAD
_CHUNK = 1024**2

NAME, VERSION, RELEASE, EPOCH, ARCH = 1000, 1001, 1002, 1003, 1022
NOSOURCE, NOPATCH, REQUIRENAME, SOURCEPACKAGE = 1051, 1052, 1049, 1106
BUILDTIME, CHANGELOGTIME = 1006, 1080
REQUIREFLAGS, REQUIREVERSION = 1048, 1050
_PAYLOAD_DIGEST, _PAYLOAD_ALGORITHM = 5092, 5093
_SIG_MD5, _SIG_SHA1, _SIG_SHA256 = 1004, 269, 273
_ALGORITHMS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
_RPMLIB, _LESS, _GREATER, _SAME = 1 << 24, 2, 4, 8


@dataclass(frozen=True, kw_only=True)
class Header:
    """The tags of one package's header."""

    tags: Mapping[int, tuple[int, int, bytes]]

    def text(self, tag: int) -> str:
        """One string; empty if the tag is missing or of another type."""
        return rpmtags.text(self.tags, tag)

    def texts(self, tag: int) -> list[str]:
        """A list of strings."""
        kind, count, data = self.tags.get(tag, (0, 0, b""))
        if kind != rpmtags.STRINGS:
            return []
        return [one.decode("utf-8", "replace") for one in data.split(b"\0", count)[:count]]

    def numbers(self, tag: int) -> list[int]:
        """A list of 32 bit numbers."""
        return rpmtags.numbers(self.tags, tag)

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
    signature, main = rpmtags.both(file)
    header = Header(tags=main.tags)
    if check:
        _check(file, Header(tags=signature.tags), header, main.raw)
    return header


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
    if not any(header.numbers(BUILDTIME)):  # createrepo_c 1.x aborts, and nothing is published
        raise ValueError("it has no build time: rpmbuild makes none like that")
