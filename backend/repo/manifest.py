"""What a state's metadata files consist of: which builds are in which compressed block.

A line `=` begins a block with its compressed sizes; the builds in it follow, a line each. The
text is searched, not parsed, where only one build is of interest: publishing one more must not
cost more when there are thousands.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

FILE = "manifest"
VERSION = 1
_NAMES = re.compile(rb"^([^=\t\n][^\t\n]*)\t", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One build: the sizes of its part of the three files, uncompressed, and its packages."""

    name: str
    stamp: str
    sizes: tuple[int, ...]
    files: tuple[str, ...]

    def line(self) -> bytes:
        """The line that says so."""
        sizes = " ".join(map(str, self.sizes))
        return f"{self.name}\t{self.stamp}\t{sizes}\t/{'/'.join(self.files)}/\n".encode()

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """The other way round."""
        name, stamp, sizes, files = line.decode().split("\t")
        numbers = tuple(map(int, sizes.split()))
        return cls(name=name, stamp=stamp, sizes=numbers, files=tuple(files.split("/")[1:-1]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Builds that are compressed together, with the sizes of that in the three files."""

    sizes: tuple[int, ...]
    entries: tuple[Entry, ...]

    def lines(self) -> bytes:
        """The lines that say so."""
        head = f"={' '.join(map(str, self.sizes))}\n".encode()
        return head + b"".join(entry.line() for entry in self.entries)


@dataclass(frozen=True, kw_only=True)
class Head:
    """What holds for the whole state.

    Of each of the three files: its name, size, time of change (nanoseconds), the sizes of its
    first and last piece, and its size uncompressed. `loose` counts the small blocks at the end;
    `scanned` is when all directories were looked into; `extras` tells group files and the like
    apart from those made before.
    """

    baseurl: str = ""
    packages: int = 0
    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    times: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    tails: tuple[int, ...] = ()
    opens: tuple[int, ...] = ()
    loose: int = 0
    scanned: float = 0.0
    extras: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Head and body; immutable."""

    head: Head
    body: bytes

    def find(self, name: str) -> Entry | None:
        """The build of this name."""
        start = self._line(b"%s\t" % name.encode())
        return None if start < 0 else Entry.parse(self.body[start : self.body.index(b"\n", start)])

    def _line(self, begin: bytes) -> int:
        if self.body.startswith(begin):
            return 0
        at = self.body.find(b"\n" + begin)
        return at + 1 if at >= 0 else -1

    def holders(self, file: str, besides: str) -> list[str]:
        """The other builds that have a package of this name."""
        wanted, found, at = b"/%s/" % file.encode(), [], -1
        while (at := self.body.find(wanted, at + 1)) >= 0:
            start = self.body.rfind(b"\n", 0, at) + 1
            found.append(self.body[start : self.body.index(b"\t", start)].decode())
        return [name for name in found if name != besides]

    def names(self) -> frozenset[str]:
        """All builds."""
        return frozenset(name.decode() for name in _NAMES.findall(self.body))

    def entries(self) -> Iterator[Entry]:
        """All builds, in their order."""
        return (entry for block in self.blocks() for entry in block.entries)

    def blocks(self) -> list[Block]:
        """All blocks, in their order."""
        found: list[tuple[tuple[int, ...], list[Entry]]] = []
        for line in self.body.splitlines():
            if line.startswith(b"="):
                found.append((tuple(map(int, line[1:].split())), []))
            else:
                found[-1][1].append(Entry.parse(line))
        return [Block(sizes=sizes, entries=tuple(entries)) for sizes, entries in found]

    def with_head(self, **changes: Any) -> "Manifest":
        """The same with another head."""
        return replace(self, head=replace(self.head, **changes))

    def dump(self) -> bytes:
        """The file's content."""
        words = {"version": VERSION, "crc": zlib.crc32(self.body), **asdict(self.head)}
        return json.dumps(words).encode() + b"\n" + self.body


def load(directory: Path) -> Manifest | None:
    """The manifest of a state; None when there is none that can be relied on."""
    try:
        head, _, body = (directory / FILE).read_bytes().partition(b"\n")
        words = json.loads(head)
        if words.pop("version") != VERSION or words.pop("crc") != zlib.crc32(body):
            return None
        words = {k: tuple(v) if isinstance(v, list) else v for k, v in words.items()}
        return Manifest(head=Head(**words), body=body)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def dump(blocks: Iterable[Block]) -> bytes:
    """A body."""
    return b"".join(block.lines() for block in blocks)
