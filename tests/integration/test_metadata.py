"""What we say of packages is what createrepo_c says: of real odd ones, and of invented headers."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from backend.repo import chunks, describe
from backend.repo.facts import DEPENDENCIES, Odd
from tests import metadata
from tests.bench import rpms
from tests.integration import oddrpms

pytestmark = [pytest.mark.createrepo]


@pytest.mark.rpmbuild
def test_odd_packages_are_described_as_createrepo_does(tmp_path: Path) -> None:
    packages = oddrpms.build(tmp_path / "built")
    found = metadata.run(packages, tmp_path)
    assert found.differences == []
    assert found.complaints == []
    assert found.packages == len(packages)
    assert found.own >= 8, found.reasons
    assert sum(found.reasons.values()) >= 3, "strange strings, and requirements of a transaction"


PLAIN = (
    "plain", "with space", "a&b", "<tag>", 'quo"te', "it's", "tab\there", "line\nbreak", "漢字",
    "é",
    "😀", "x" * 300, " lead", "trail ", "-", "a:b", "%41", "&amp;", "]]>", "",
)  # fmt: skip
WORDS = ("\udce9", "bell\x07", "del\x7f", "cr\r\n", "nel\x85", "\ufffe", "\u2028")
VERSIONS = ("1", "1-2", "3:1-2", "0:1", "1-", "1-2-3", "~1", "1 2", "1.2^é-3")
STRANGE_VERSIONS = ("", ":1", "1:", "x:1", "-2", "1:2:3", " 1:2", "+1:2", "\uff11:2")
NAMES = (
    "a", "b", "/etc/x", "/usr/bin/y", "/usr/share/z", "rpmlib(X)", "libc.so.6", "libc.so.6()",
    "libc.so.6()(64bit)", "libc.so.6(GLIBC_2.4)(64bit)", "libc.so.6(GLIBC_2.34)(64bit)",
    "libc.so.6(GLIBC_2.4.1)(64bit)", "libc.so.6(GLIBC_PRIVATE)(64bit)", "(a if b)", "c&d", "é",
)  # fmt: skip
STRANGE_NAMES = ("libc.so.6(X2_Y)", "libc.so.6(", "libc.so.60", "")
SENSES = (0, 0, 0x4000, 8, 10, 12, 2, 4, 0x4008, 0x200, 0x408, 0x800)
STRANGE_SENSES = (6, 14, 1 << 5, 1 << 7, 1 << 19, 1 << 24 | 10)
PATHS = ("/etc/", "/usr/bin/", "/usr/share/z/", "/usr/lib/", "", "/opt/bin/é/")


class Inventor:
    """Makes headers in which anything may be odd, but mostly is not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def either(self, usual: Sequence[Any], strange: Sequence[Any]) -> Any:
        return self.random.choice(strange if self.random.random() < 0.01 else usual)

    def word(self) -> str:
        return str(self.either(PLAIN, WORDS))

    def identity(self) -> dict[int, tuple[int, Any]]:
        pick, word = self.random.choice, self.word
        tags: dict[int, tuple[int, Any]] = {
            100: (8, ["C"]),
            1000: (6, "inv"), 1001: (6, "1"), 1002: (6, "2"), 1022: (6, "noarch"),
            1004: (9, word()), 1005: (9, word()), 1006: (4, pick([1, 2, 2**31, 2**32 - 1])),
            1009: (4, self.random.randint(0, 2**32 - 1)), 1044: (6, "inv-1-2.src.rpm"),
            1014: (6, word()),
        }  # fmt: skip
        for tag in (1003, 1007, 1011, 1015, 1016, 1020):
            if self.random.random() < 0.5:
                tags[tag] = (4, self.random.randint(0, 99)) if tag == 1003 else (6, word())
        return tags

    def dependencies(self) -> dict[int, tuple[int, Any]]:
        tags = {}
        for names, flags, versions in DEPENDENCIES.values():
            if self.random.random() < 0.6:
                many = range(self.random.randint(1, 8))
                tags[names] = (8, [self.either(NAMES, STRANGE_NAMES) for _ in many])
                tags[flags] = (4, [self.either(SENSES, STRANGE_SENSES) for _ in many])
                tags[versions] = (8, [self.either(VERSIONS, STRANGE_VERSIONS) for _ in many])
        return tags

    def files(self) -> dict[int, tuple[int, Any]]:
        many, pick = range(self.random.randint(3, 9)), self.random.choice
        return {
            1117: (8, [self.word() or "f" for _ in many]),
            1118: (8, self.random.sample(PATHS, 3)),
            1116: (4, [self.random.randrange(3) for _ in many]),
            1030: (3, [pick([0o100644, 0o40755, 0o120777, 0o104755]) for _ in many]),
            1037: (4, [pick([0, 1, 2, 64]) for _ in many]),
            1035: (8, ["" for _ in many]),
        }

    def changelog(self) -> dict[int, tuple[int, Any]]:
        many = range(self.random.randint(1, 13))
        return {
            1080: (4, [self.random.choice([0, 5, 6, 7, 7, 7, 8]) for _ in many]),
            1081: (8, [f"A {self.word()} " for _ in many]),
            1082: (8, [self.word() for _ in many]),
        }

    def header(self) -> list[tuple[int, int, Any]]:
        tags = self.identity() | self.dependencies()
        for part in (self.files, self.changelog):
            if self.random.random() < 0.7:
                tags |= part()
        if self.random.random() < 0.1:
            # Without 1006, or with 0, createrepo_c 1.x aborts: `rpmheader` refuses those.
            del tags[self.random.choice(sorted(tags.keys() - {1000, 1001, 1002, 1006}))]
        return [(tag, kind, value) for tag, (kind, value) in tags.items()]


def pairs(
    repo: Path, work: Path
) -> Iterator[tuple[str, chunks.Package | None, chunks.Package | None]]:
    """Path, createrepo_c's description, and ours."""
    paths = sorted(str(path.relative_to(repo)) for path in repo.glob("*/*.rpm"))
    made = chunks.make(repo, work, paths, baseurl="http://a/?b&c", timeout=100)
    theirs = {package.path: package for package in made}
    for path in paths:
        try:
            yield path, theirs.get(path), describe.package(repo, path, "http://a/?b&c")
        except Odd:
            yield path, theirs.get(path), None


@pytest.mark.parametrize("seed", range(3))
def test_invented_headers_are_described_alike_or_not_at_all(tmp_path: Path, seed: int) -> None:
    """Byte for byte; what may be understood in two ways is left to createrepo_c."""
    inventor = Inventor(seed)
    build, work = tmp_path / "repo/1-x", tmp_path / "work"
    build.mkdir(parents=True)
    work.mkdir()
    for number in range(400):
        rpms.write(build / f"inv{number}-1-2.noarch.rpm", inventor.header())
    found = list(pairs(tmp_path / "repo", work))
    for path, theirs, ours in found:
        assert ours is None or ours == theirs, (seed, path)
    same = sum(ours is not None for _, _, ours in found)
    assert same >= 40, f"seed {seed}: too many are left to createrepo_c"
    assert len(found) - same >= 40, f"seed {seed}: none is odd"


def test_damaged_files_are_not_described(tmp_path: Path) -> None:
    whole = rpms.make(tmp_path, "tiny").read_bytes()
    for number in range(0, len(whole) - 60, 7):
        for damaged in (whole[:number], whole[:number] + b"\xff" * 4 + whole[number + 4 :]):
            (tmp_path / "x.rpm").write_bytes(damaged)
            try:
                described = describe.package(tmp_path, "x.rpm")
            except Odd:
                continue
            assert len(damaged) == len(whole), "what is truncated is odd"
            assert described.path == "x.rpm"


def test_values_that_overlap_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    """Each of a thousand tags claims the whole store."""
    tags = [(2000 + number, 7, b"x") for number in range(1000)]
    path = rpms.write(tmp_path / "x.rpm", [(1000, 6, "n" * 100_000), *tags])
    content = path.read_bytes()
    for number in range(1000):
        entry = (2000 + number).to_bytes(4) + (7).to_bytes(4)
        at = content.index(entry) + 8
        content = content[:at] + (1).to_bytes(4) + content[at + 4 :]
    path.write_bytes(content)
    with pytest.raises(Odd, match="overlap"):
        describe.package(tmp_path, "x.rpm")
