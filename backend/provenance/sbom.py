"""The SPDX document (2.3, JSON) of one build: its RPMs, and the sources they were made of. Pure."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from backend.provenance.packages import LICENSE, SUMMARY, URL, VENDOR, Rpm, rpm_purl
from backend.provenance.statement import stamp

#: Names of SPDX's list that specs use. What has another word in it is quoted as it is: it may be
#: one of the older names of Fedora's, which mean something else.
_LICENSES = """
0BSD AFL-2.1 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 Artistic-1.0-Perl Artistic-2.0
BSD-1-Clause BSD-2-Clause BSD-3-Clause BSD-4-Clause BSL-1.0 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0
CC-BY-SA-4.0 CC0-1.0 EPL-1.0 EPL-2.0 FTL GFDL-1.2-or-later GFDL-1.3-or-later GPL-1.0-or-later
GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later HPND ICU IJG ISC LGPL-2.0-only
LGPL-2.0-or-later LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later MIT MIT-0 MPL-1.1
MPL-2.0 NCSA OFL-1.1 OpenSSL PHP-3.01 PostgreSQL PSF-2.0 Python-2.0 Python-2.0.1 Ruby TCL
Unicode-3.0 Unlicense Vim W3C WTFPL X11 Zlib ZPL-2.1
"""
_KNOWN = frozenset(_LICENSES.split())
_WORD = re.compile(r"\(|\)|[^\s()]+")
_NONE = "NOASSERTION"
#: A full name of a host.
_HOST = re.compile(r"[a-z0-9]+([-.][a-z0-9]+)*\.[a-z]{2,}")
#: Characters of a text that are kept.
_LONGEST = 2000


@dataclass(frozen=True, kw_only=True)
class Contents:
    """`url` is the directory of the results, `owner` whose project it is; `created` in seconds."""

    title: str
    url: str
    owner: str
    version: str
    created: float
    binaries: Sequence[Rpm]
    source: Rpm


def make(contents: Contents) -> dict[str, Any]:
    """The document; it describes the RPMs, generated from the source package."""
    licenses: dict[str, str] = {}
    source = _package(contents, contents.source, "SPDXRef-source", licenses)
    packages, relations = [], []
    for number, rpm in enumerate(contents.binaries):
        one = _package(contents, rpm, f"SPDXRef-rpm-{number}", licenses)
        packages.append(one)
        relations.append(_relation("SPDXRef-DOCUMENT", "DESCRIBES", one["SPDXID"]))
        relations.append(_relation(one["SPDXID"], "GENERATED_FROM", source["SPDXID"]))
    files = [
        _file(number, name, digest)
        for number, (name, digest) in enumerate(contents.source.files.items())
    ]
    relations += [_relation(source["SPDXID"], "CONTAINS", one["SPDXID"]) for one in files]
    digests = "".join(rpm.sha256 for rpm in contents.binaries)
    identity = hashlib.sha256(f"{contents.created}{digests}".encode()).hexdigest()[:32]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": contents.title,
        "documentNamespace": f"{contents.url}spdx-{identity}",
        "creationInfo": {
            "created": stamp(contents.created),
            "creators": [f"Tool: copr-backend-{contents.version}"],
        },
        "packages": [*packages, source, *files],
        "relationships": relations,
    }
    if licenses:
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": key, "name": text, "extractedText": f"License tag of the RPM: {text}"}
            for text, key in licenses.items()
        ]
    return document


def _package(contents: Contents, rpm: Rpm, key: str, licenses: dict[str, str]) -> dict[str, Any]:
    header = rpm.header
    place = contents.url.rstrip("/").rpartition("/")[0]
    link = rpm_purl(contents.owner, rpm.name, rpm.evr, rpm.arch, repository_url=place)
    found = {
        "SPDXID": key,
        "name": rpm.name,
        "versionInfo": rpm.evr,
        "packageFileName": rpm.file,
        "downloadLocation": _location(contents.url + quote(rpm.file, safe="+~^")),
        "filesAnalyzed": False,
        "checksums": [{"algorithm": "SHA256", "checksumValue": rpm.sha256}],
        "licenseConcluded": _NONE,
        "licenseDeclared": license_of(header.text(LICENSE), licenses),
        "copyrightText": _NONE,
        "supplier": f"Organization: {_line(header.text(VENDOR)) or contents.owner}",
        "primaryPackagePurpose": "SOURCE" if header.source else "INSTALL",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": link,
            }
        ],
    }
    if summary := _line(header.text(SUMMARY)):
        found["summary"] = summary
    if (home := header.text(URL)) and _is_url(home):
        found["homepage"] = home
    return found


def _file(number: int, name: str, digest: str) -> dict[str, Any]:
    """A source as a package: files of SPDX need a SHA-1, which RPMs do not have."""
    return {
        "SPDXID": f"SPDXRef-file-{number}",
        "name": name,
        "packageFileName": name,
        "downloadLocation": _NONE,
        "filesAnalyzed": False,
        "checksums": [{"algorithm": "SHA256", "checksumValue": digest}],
        "licenseConcluded": _NONE,
        "licenseDeclared": _NONE,
        "copyrightText": _NONE,
        "primaryPackagePurpose": "SOURCE",
    }


def license_of(text: str, others: dict[str, str]) -> str:
    """The License tag if it surely is an expression of SPDX, else a reference to it as a text."""
    text = _line(text)
    if not text:
        return _NONE
    if _is_expression(_WORD.findall(text)):
        return text
    return others.setdefault(text, f"LicenseRef-rpm-{len(others)}")


def _is_expression(words: list[str]) -> bool:
    depth, wanted = 0, True  # a license, or a parenthesis that opens
    for word in words:
        if wanted and word == "(":
            depth += 1
        elif wanted and word in _KNOWN:
            wanted = False
        elif not wanted and word == ")" and depth:
            depth -= 1
        elif not wanted and word in ("AND", "OR"):
            wanted = True
        else:
            return False
    return not wanted and not depth


def _relation(one: str, kind: str, other: str) -> dict[str, Any]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _line(text: str) -> str:
    plain = "".join(one if one.isprintable() else " " for one in text[:_LONGEST])
    return " ".join(plain.split())


def _location(url: str) -> str:
    """Where it can be had; nothing is said where only this machine, or its network, knows."""
    return url if _is_url(url) else _NONE


def _is_url(text: str) -> bool:
    """One with a full name of a host: SPDX's own checker takes neither addresses nor localhost."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and not set(text) & set(' <>"{}|\\^`')
    named = _HOST.fullmatch(parts.hostname or "") is not None
    return plain and parts.scheme in ("http", "https", "ftp") and named
