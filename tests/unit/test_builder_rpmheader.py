"""RPM headers from strangers: right ones are read, all others are refused."""

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from backend.builders import rpmheader
from backend.exceptions import BuildError

MAGIC = b"\x8e\xad\xe8\x01"
Tag = tuple[int, int, int, bytes]
Tags = list[Tag]


def section(region: int, tags: Tags, *, back: int = 0) -> bytes:
    """A header with a region over all of it."""
    data, index = b"", b""
    for tag, kind, count, value in tags:
        index += struct.pack(">IIII", tag, kind, len(data), count)
        data += value
    count = len(tags) + 1
    trailer = struct.pack(">IIiI", region, 7, back or -16 * count, 16)
    index = struct.pack(">IIII", region, 7, len(data), 16) + index
    data += trailer
    return MAGIC + bytes(4) + struct.pack(">II", count, len(data)) + index + data


def package(
    *,
    payload: bytes = b"cpio",
    name: bytes = b"hello\0",
    arch: bytes = b"noarch\0",
    built: int = 1,
    more: Sequence[Tag] = (),
    **how: int,
) -> bytes:
    digest = hashlib.sha256(payload).hexdigest().encode() + b"\0"
    header = section(
        63,
        [
            (1000, 6, 1, name),
            (1001, 6, 1, b"1.0\0"),
            (1002, 6, 1, b"2\0"),
            (1022, 6, 1, arch),
            (5092, 8, 1, digest + bytes(-(6 + 4 + 2 + 7 + 65) % 4)),
            (5093, 4, 1, struct.pack(">I", 8)),
            (1006, 4, 1, struct.pack(">I", built)),
            *more,
        ],
        **how,
    )
    signature = section(62, [(273, 6, 1, hashlib.sha256(header).hexdigest().encode() + b"\0")])
    lead = b"\xed\xab\xee\xdb" + bytes(92)
    return lead + signature + bytes(-len(signature) % 8) + header + payload


def read(tmp_path: Path, content: bytes) -> rpmheader.Header:
    path = tmp_path / "x.rpm"
    path.write_bytes(content)
    return rpmheader.read(path)


def test_a_plain_package(tmp_path: Path) -> None:
    header = read(tmp_path, package(more=[(1003, 4, 1, struct.pack(">I", 3))]))
    words = [header.text(tag) for tag in (1000, 1001, 1002, 1022)]
    assert words == ["hello", "1.0", "2", "noarch"]
    assert (header.epoch, header.source, header.partial) == (3, False, False)


def test_requires_are_told_as_rpm_tells_them(tmp_path: Path) -> None:
    more: Tags = [
        (1049, 8, 3, b"gcc\0make\0rpmlib(X)\0"),
        (1050, 8, 3, b"\0004.0\0001\0" + b"\0" * 2),
        (1048, 4, 3, struct.pack(">III", 0, 12, 1 << 24)),
    ]
    more = [more[2], more[0], more[1]]  # numbers first: they are aligned
    assert read(tmp_path, package(more=more)).requires() == ["gcc", "make >= 4.0"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no RPM package"),
        (package()[:200], "truncated|unpack"),
        (package()[:-1] + b"x", "digest of its content"),
        (package().replace(b"hello", b"jello"), "digest of its header"),
        (package(more=[(1000, 6, 1, b"other\0")]), "tag 1000 .* odd"),
        (package(more=[(9, 6, 2**31, b"\0")]), "tag 9 .* odd"),
        (package(built=0), "no build time"),
        (package(back=-16), "outside its region"),
        (package()[:96] + MAGIC + bytes(4) + b"\x7f\xff\xff\xff" * 2, "damaged header"),
        (package()[:96] + b"\0" * 64, "damaged header"),
    ],
)
def test_all_else_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(BuildError, match=rf"refused result 'x.rpm': .*({why})"):
        read(tmp_path, content)
