"""Compares what readers get with what is on disk, and with what createrepo_c says of it."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from backend.disk import make_directory
from backend.exceptions import InfrastructureError
from backend.repo import chunks, codec, repomd, scan
from backend.repo.chunks import KINDS, Package
from backend.repo.compare import Order, listed
from backend.repo.states import PRIVATE

_NAMESPACES = 'xmlns="x" xmlns:rpm="r"'
_RECORD = "{http://linux.duke.edu/metadata/repo}"


def problems(order: Order, *, subset: bool = False) -> list[str]:
    """What is wrong, one line each; only for the holder of the lock.

    With `subset` the metadata need not list every marked build, as in a project that publishes
    by hand. Every listed package is read and described anew.
    """
    broken = list(_files(order.place / "repodata"))
    if broken:
        return broken
    there = scan.everything(order.repo)
    names = listed(order.place)
    found = [f"{name} is listed, but not there as a success" for name in sorted(names - set(there))]
    if not subset:
        found += [f"{name} is a success, but not listed" for name in sorted(set(there) - names)]
    paths = [path for name in sorted(names & set(there)) for path in there[name].paths]
    return found + list(_packages(order, paths, names & set(there)))


def _files(repodata: Path) -> Iterator[str]:
    """What repomd.xml promises, held against the files."""
    try:
        root = ElementTree.fromstring((repodata / repomd.NAME).read_bytes())  # noqa: S314 - ours
    except FileNotFoundError:
        yield f"{repodata / repomd.NAME} is missing"
        return
    except ElementTree.ParseError as error:
        yield f"{repodata / repomd.NAME} is no XML: {error}"
        return
    for data in root.iter(f"{_RECORD}data"):
        place = data.find(f"{_RECORD}location")
        path = repodata / Path("" if place is None else place.get("href", "")).name
        try:
            content = path.read_bytes()
        except OSError as error:
            yield f"{path}: {error.strerror}"
            continue
        if hashlib.sha256(content).hexdigest() != data.findtext(f"{_RECORD}checksum"):
            yield f"{path} is damaged: its checksum is not the one in repomd.xml"


def _packages(order: Order, paths: list[str], names: frozenset[str] | set[str]) -> Iterator[str]:
    """Package for package: ours against a description made now."""
    private = order.repo / PRIVATE / "tmp"
    make_directory(private)
    work = Path(tempfile.mkdtemp(dir=private))
    try:
        made = chunks.make(order.repo, work, paths, baseurl=order.baseurl, timeout=order.timeout)
        wanted = {package.path: package for package in made}
        try:
            ours = {package.path: package for package in chunks.read(order.place / "repodata")}
        except (InfrastructureError, OSError, EOFError, *codec.BROKEN) as error:
            yield f"{order.place / 'repodata'} cannot be read: {error}"
            return
        for path in sorted(wanted.keys() - ours.keys()):
            yield f"{path} is not listed"
        for path in sorted(ours.keys() - wanted.keys()):
            if ours[path].build in names:
                yield f"{path} is listed, but cannot be read"
        for path in sorted(ours.keys() & wanted.keys()):
            yield from differences(ours[path], wanted[path])
    finally:
        shutil.rmtree(work, ignore_errors=True)


def differences(one: Package, other: Package) -> Iterator[str]:
    """Where two descriptions of a package differ in more than white space."""
    for kind, a, b in zip(KINDS, one.texts, other.texts, strict=True):
        if a != b and _canonical(a) != _canonical(b):
            yield f"{one.path}: {kind} differs from what createrepo_c says"


def _canonical(text: bytes) -> str:
    whole = f"<x {_NAMESPACES}>{text.decode('utf-8', 'replace')}</x>"
    return ElementTree.canonicalize(whole, strip_text=True)
