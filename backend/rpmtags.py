"""The tags of a header in an RPM file, read without librpm.

Every number in it comes from a stranger: what does not fit, is larger than any real package, or
could be read in two ways is refused.
"""

import itertools
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

LEAD = 96
LEAD_MAGIC = b"\xed\xab\xee\xdb"
MAGIC = b"\x8e\xad\xe8\x01"
INTRO = struct.Struct(">4s4xII")
ENTRY = struct.Struct(">IIII")
#: Most entries, and most bytes, of a header: packages of 200,000 files have less.
MOST_ENTRIES = 10_000
MOST_BYTES = 64 * 1024**2
#: Of the signature header, and of the other.
SIGNATURE_REGION, REGION = 62, 63
INT16, INT32, STRING, BINARY, STRINGS, I18N = 3, 4, 6, 7, 8, 9
#: Type, count, and the bytes from its first one on.
Entry = tuple[int, int, bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One header: its entries by tag, and the whole of it."""

    tags: dict[int, Entry]
    raw: bytes

    def text(self, tag: int) -> str:
        """One string; empty if the tag is missing or of another type."""
        return text(self.tags, tag)

    def numbers(self, tag: int) -> list[int]:
        """A list of 32 bit numbers; empty if the tag is missing or of another type."""
        return numbers(self.tags, tag)


def text(tags: Mapping[int, Entry], tag: int) -> str:
    """One string; empty if the tag is missing or of another type."""
    kind, _, data = tags.get(tag, (0, 0, b""))
    if kind not in (STRING, I18N):
        return ""
    return data.partition(b"\0")[0].decode("utf-8", "replace")


def numbers(tags: Mapping[int, Entry], tag: int) -> list[int]:
    """A list of 32 bit numbers; empty if the tag is missing or of another type."""
    kind, count, data = tags.get(tag, (0, 0, b""))
    if kind != INT32 or count * 4 > len(data):
        return []
    return [value for (value,) in struct.iter_unpack(">I", data[: count * 4])]


def both(file: BinaryIO) -> tuple[Section, Section]:
    """The signature header and the other of the package that begins here; what follows is its
    content. Raises ValueError or struct.error."""
    if file.read(LEAD)[:4] != LEAD_MAGIC:
        raise ValueError("no RPM package")
    signature = read(file, SIGNATURE_REGION)
    file.seek(-len(signature.raw) % 8, os.SEEK_CUR)
    return signature, read(file, REGION)


def read(file: BinaryIO, region: int, *, most: int = MOST_BYTES) -> Section:
    """The header that begins here. Raises ValueError or struct.error."""
    intro = file.read(INTRO.size)
    magic, count, size = INTRO.unpack(intro)
    if magic != MAGIC or not 0 < count <= MOST_ENTRIES or size > most:
        raise ValueError("damaged header")
    index, data = file.read(count * ENTRY.size), file.read(size)
    if len(index) != count * ENTRY.size or len(data) != size:
        raise ValueError("truncated")
    entries = list(ENTRY.iter_unpack(index))
    _check_region(entries[0], region, count, data)
    bounds = sorted({offset for _, _, offset, _ in entries[1:]} | {size})
    ends = dict(itertools.pairwise(bounds))
    if sum(ends.get(offset, size) - offset for _, _, offset, _ in entries[1:]) > 2 * size:
        raise ValueError("values of its header overlap")
    tags: dict[int, Entry] = {}
    for tag, kind, offset, number in entries[1:]:
        if tag in tags or offset > size or not 0 < number <= size:
            raise ValueError(f"tag {tag} of its header is odd")
        tags[tag] = (kind, number, data[offset : ends.get(offset, size)])
    return Section(tags=tags, raw=intro + index + data)


def _check_region(first: tuple[int, ...], region: int, count: int, data: bytes) -> None:
    """All entries must be in the region that the digests cover: then there are no others."""
    tag, kind, offset, number = first
    if (tag, kind, number) != (region, BINARY, 16) or offset + 16 > len(data):
        raise ValueError("its header has no region")
    _, _, back, _ = struct.unpack(">IIiI", data[offset : offset + 16])
    if -back != count * ENTRY.size:
        raise ValueError("its header has entries outside its region")
