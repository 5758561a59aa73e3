"""Descriptions of packages, the way createrepo_c writes them into the three metadata files."""

import html
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from xml.etree import ElementTree

from backend.exceptions import InfrastructureError
from backend.process import Result, find, run
from backend.repo import codec

KINDS = ("primary", "filelists", "other")
_XML = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_COMMON = b"http://linux.duke.edu/metadata/"
#: How each file begins; format with the number of packages.
HEADS = (
    _XML + b'<metadata xmlns="%scommon" xmlns:rpm="%srpm" packages="%%d">\n' % (_COMMON, _COMMON),
    _XML + b'<filelists xmlns="%sfilelists" packages="%%d">\n' % _COMMON,
    _XML + b'<otherdata xmlns="%sother" packages="%%d">\n' % _COMMON,
)
TAILS = (b"</metadata>", b"</filelists>", b"</otherdata>")
_BEGIN, _END = b"<package ", b"</package>\n"
_PIECE = 1024**2
_LOCATION = re.compile(rb'<location (?:xml:base="[^"]*" )?href="([^"]+)"')
_ID = re.compile(rb'pkgid="(?:YES">)?([0-9a-f]{64})[<"]')
_REPO = "{http://linux.duke.edu/metadata/repo}"
#: Understood by 0.17.3 and by 1.x, whose defaults (zstd, sqlite) differ.
_OPTIONS = ("--no-database", "--general-compress-type=gz", "--error-exit-val")
#: 2: complete, but without the RPMs that were unreadable or went away meanwhile.
_USABLE = (0, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One package: its path in the repository, its SHA-256, and its part of the three files."""

    path: str
    digest: str
    texts: tuple[bytes, ...]

    @property
    def build(self) -> str:
        """The directory that it is in."""
        return self.path.partition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What createrepo_c found: where its files are, and its complaints about some packages."""

    repodata: Path
    packages: int
    complaints: str

    def __iter__(self) -> Iterator[Package]:
        return read(self.repodata)


def make(
    repo: Path,
    private: Path,
    paths: Collection[str],
    *,
    baseurl: str = "",
    update: Path | None = None,
    timeout: float,
) -> Made:
    """Have createrepo_c describe the packages at `paths` (relative to `repo`), in that order.

    `update` is a repository with metadata that may be used where size and time of a package
    agree; metadata that is damaged is not used. Raises InfrastructureError.
    """
    pkglist = private / "pkglist"
    pkglist.write_text("".join(f"{path}\n" for path in paths))
    options = [*_OPTIONS, f"--pkglist={pkglist}"]
    if baseurl:
        options.append(f"--baseurl={baseurl}")
    root = repo
    if not paths:  # an empty list would mean: search everything
        root = private / "empty"
        root.mkdir(exist_ok=True)
    repodata = private / "out" / "repodata"
    tries = [["--update", f"--update-md-path={update}"]] if update and paths else []
    for more in [*tries, []]:
        result = _run(root, private / "out", [*options, *more], timeout)
        if result.code in _USABLE and (number := _count(repodata)) is not None:
            words = result.stderr.decode("utf-8", "replace").strip()[-2000:]
            return Made(repodata=repodata, packages=number, complaints=words if result.code else "")
    raise InfrastructureError(f"cannot publish {repo}: createrepo_c: {result.last_line}")


def _run(root: Path, output: Path, options: list[str], timeout: float) -> Result:
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    argv = [find("createrepo_c"), *options, f"--outputdir={output}", str(root)]
    return run(argv, timeout=timeout)


def files(repodata: Path) -> dict[str, Path]:
    """Type → file, of what a repomd.xml names; empty if it is unreadable."""
    try:
        root = ElementTree.fromstring((repodata / "repomd.xml").read_bytes())  # noqa: S314 - ours
    except (FileNotFoundError, ElementTree.ParseError):
        return {}
    return {
        str(data.get("type")): repodata / Path(place.get("href", "")).name
        for data in root.iter(f"{_REPO}data")
        for place in data.iter(f"{_REPO}location")
    }


def _count(repodata: Path) -> int | None:
    """The number of packages; None when there is no complete metadata."""
    there = files(repodata)
    if not there.keys() >= set(KINDS):
        return None
    with codec.of_file(there["primary"].name).open(there["primary"]) as packed:
        found = re.search(rb'packages="(\d+)"', packed.read(1000))
    return int(found[1]) if found else None


def read(repodata: Path) -> Iterator[Package]:
    """Every package that the metadata lists, in its order; any author's will do.

    Raises InfrastructureError when the three files do not agree.
    """
    there = files(repodata)
    if not there.keys() >= set(KINDS):
        raise InfrastructureError(f"{repodata} is no complete metadata")
    for texts in zip_longest(*(_texts(there[kind]) for kind in KINDS)):
        if None in texts:
            raise InfrastructureError(f"{repodata}: its files list different packages")
        yield package(texts)


def package(texts: tuple[bytes, ...]) -> Package:
    """What three pieces of metadata describe; InfrastructureError unless it is one package."""
    ids = {found[1] for text in texts if (found := _ID.search(text))}
    place = _LOCATION.search(texts[0])
    if len(ids) != 1 or not place:
        raise InfrastructureError(f"createrepo_c: unexpected metadata: {texts[0][:200]!r}")
    path = html.unescape(place[1].decode())
    return Package(path=path, digest=ids.pop().decode(), texts=texts)


def _texts(path: Path) -> Iterator[bytes]:
    rest, first = b"", True
    with codec.of_file(path.name).open(path) as packed:
        while piece := packed.read(_PIECE):
            *whole, rest = (rest + piece).split(_END)
            for text in whole:
                yield (text[text.index(_BEGIN) :] if first else text) + _END
                first = False
