"""RPM files as the documents need them: digests, and the tags of the header. Without librpm."""

import hashlib
import itertools
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from backend import rpmtags
from backend.builders import rpmheader
from backend.builders.rpmheader import Header

SUMMARY, BUILDTIME, VENDOR, LICENSE, URL = 1004, 1006, 1011, 1014, 1020
BASENAMES, FILEDIGESTS, FILEDIGESTALGO = 1117, 1035, 5011
_SHA256 = 8
#: Of a source package so many files are told: more has none but by malice.
MOST_FILES = 5000
#: Nothing of it is to be quoted; most is like that, and there are many.
_PLAIN = re.compile(r"[A-Za-z0-9._~-]*")


@dataclass(frozen=True, kw_only=True)
class Rpm:
    """One package: `sha256` is that of the file, `header_sha256` that of its header without
    signatures, which has the digest of the content and stays when the package is signed anew."""

    file: str
    sha256: str
    header_sha256: str
    header: Header

    @property
    def name(self) -> str:
        """The package's name."""
        return self.header.text(rpmheader.NAME)

    @property
    def evr(self) -> str:
        """`[epoch:]version-release`."""
        epoch = f"{self.header.epoch}:" if self.header.epoch else ""
        version, release = rpmheader.VERSION, rpmheader.RELEASE
        return f"{epoch}{self.header.text(version)}-{self.header.text(release)}"

    @property
    def arch(self) -> str:
        """`src` for a source package, whatever machine it was made on."""
        return "src" if self.header.source else self.header.text(rpmheader.ARCH)

    @property
    def files(self) -> dict[str, str]:
        """File → SHA-256, of a source package: sources, patches and the spec."""
        if self.header.numbers(FILEDIGESTALGO) != [_SHA256]:
            return {}
        names, digests = self.header.texts(BASENAMES), self.header.texts(FILEDIGESTS)
        found = {name: one for name, one in zip(names, digests, strict=False) if len(one) == 64}
        return dict(itertools.islice(found.items(), MOST_FILES))


def read(path: Path) -> Rpm:
    """Read a package of ours. Raises ValueError if it is none, OSError."""
    with path.open("rb") as file:
        section = header_section(file)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Rpm(
        file=path.name,
        sha256=digest,
        header_sha256=hashlib.sha256(section.raw).hexdigest(),
        header=Header(tags=section.tags),
    )


def header_section(file: BinaryIO) -> rpmtags.Section:
    """The header itself; the file is at its content then. Signatures, which may lie outside the
    region of theirs, are passed over. Raises ValueError."""
    try:
        if file.read(rpmtags.LEAD)[:4] != rpmtags.LEAD_MAGIC:
            raise ValueError("no RPM package")
        magic, count, size = rpmtags.INTRO.unpack(file.read(rpmtags.INTRO.size))
        if magic != rpmtags.MAGIC:
            raise ValueError("damaged signature header")
        length = count * rpmtags.ENTRY.size + size
        file.seek(length + -length % 8, os.SEEK_CUR)
        return rpmtags.read(file, rpmtags.REGION)
    except struct.error as error:
        raise ValueError(f"truncated: {error}") from error


def purl(kind: str, namespace: str, name: str, version: str, **more: str) -> str:
    """A package URL: `pkg:rpm/fedora/bash@5.2-1?arch=x86_64`."""
    words = "&".join([f"{key}={_quoted(more[key])}" for key in sorted(more)])
    place = f"{_quoted(namespace.lower())}/" if namespace else ""
    package = f"{_quoted(name)}@{_quoted(version, ':+~')}"
    return f"pkg:{kind}/{place}{package}{'?' if words else ''}{words}"


def _quoted(text: str, safe: str = "") -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe=safe)


def installed(text: str, distribution: str) -> list[str]:
    """The package URLs of what `installed_pkgs.log` lists; see `backend.builders.installed`."""
    found = []
    for line in text.splitlines():
        first = line.partition(" ")[0]
        if first.count("_") == 2 and "." not in first.rpartition("_")[2]:
            name, version, arch = first.split("_")
            vendor = distribution if distribution in ("debian", "ubuntu") else "debian"
            found.append(purl("deb", vendor, name, version, arch=arch))
            continue
        rest, _, arch = first.rpartition(".")
        words = rest.rsplit("-", 2)
        if len(words) == 3:
            found.append(rpm_purl(distribution, words[0], f"{words[1]}-{words[2]}", arch))
    return found


def rpm_purl(namespace: str, name: str, evr: str, arch: str, **more: str) -> str:
    """Of an RPM: the epoch is a qualifier of its own."""
    epoch, colon, version = evr.rpartition(":")
    extra = {"epoch": epoch} if colon and epoch not in ("", "0") else {}
    return purl("rpm", namespace, name, version, arch=arch, **extra, **more)
