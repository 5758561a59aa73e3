"""Thousands of small RPMs in seconds: header and empty payload are written here, not by rpmbuild.

createrepo_c, dnf and rpm read them as any other package.
"""

import gzip
import hashlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

Value = int | str | list[int] | list[str]

_LEAD = struct.Struct(">4sBBhh66shh16s")
_HEADER = b"\x8e\xad\xe8\x01\0\0\0\0"
_INT32, _STRING, _BIN, _ARRAY, _I18N, _INT16 = 4, 6, 7, 8, 9, 3
#: An empty cpio archive.
_PAYLOAD = gzip.compress(
    b"0707010000000000000000000000000000000000000001000000000000000000000000"
    b"00000000000000000000000000000000000000000B00000000TRAILER!!!\0\0\0\0",
    9,
    mtime=0,
)


def _header(region: int, tags: Sequence[tuple[int, int, Value | bytes]]) -> bytes:
    """A header with its region tag, which rpm wants."""
    index, store = [], b""
    for tag, kind, value in sorted(tags):
        values = value if isinstance(value, list) else [value]
        if kind == _INT32:
            store += bytes(-len(store) % 4)
        elif kind == _INT16:
            store += bytes(-len(store) % 2)
        at = len(store)
        if isinstance(value, bytes):
            values = list(range(len(value)))  # the count
            store += value
        elif kind in (_INT32, _INT16):
            store += struct.pack(f">{len(values)}{'I' if kind == _INT32 else 'H'}", *values)
        else:
            store += b"".join(str(one).encode("utf-8", "surrogateescape") + b"\0" for one in values)
        index.append(struct.pack(">IIII", tag, kind, at, len(values)))
    count = len(index) + 1
    region_at = len(store)
    store += struct.pack(">IIiI", region, _BIN, -16 * count, 16)
    head = struct.pack(">IIII", region, _BIN, region_at, 16)
    return _HEADER + struct.pack(">II", count, len(store)) + head + b"".join(index) + store


def make(directory: Path, name: str, *, version: str = "1", files: int = 4) -> Path:
    """One noarch package of that name; its path."""
    paths = [f"part{number}-{name}" for number in range(files)]
    digest = hashlib.sha256(name.encode()).hexdigest()
    nevr = f"{name}-{version}-1"
    tags: list[tuple[int, int, Value | bytes]] = [
        (100, _ARRAY, ["C"]),
        (1000, _STRING, name),
        (1001, _STRING, version),
        (1002, _STRING, "1"),
        (1004, _I18N, f"The package {name}"),
        (1005, _I18N, f"It is called {name}, has {files} files and does nothing.\n{digest}"),
        (1006, _INT32, 1_700_000_000),
        (1007, _STRING, "localhost"),
        (1009, _INT32, 0),
        (1014, _STRING, "MIT"),
        (1016, _I18N, "Unspecified"),
        (1020, _STRING, f"https://example.org/{name}"),
        (1021, _STRING, "linux"),
        (1022, _STRING, "noarch"),
        (1044, _STRING, f"{nevr}.src.rpm"),
        (1047, _ARRAY, [name, f"lib{digest[:12]}.so()(64bit)"]),
        (1112, _INT32, [8, 0]),
        (1113, _ARRAY, [f"{version}-1", ""]),
        (1048, _INT32, [0, 16777290]),
        (1049, _ARRAY, ["/bin/sh", "rpmlib(CompressedFileNames)"]),
        (1050, _ARRAY, ["", "3.0.4-1"]),
        (1080, _INT32, [1_700_000_000]),
        (1081, _ARRAY, ["Jane Doe <jane@example.org> - 1-1"]),
        (1082, _ARRAY, [f"- first {name}"]),
        (1124, _STRING, "cpio"),
        (1125, _STRING, "gzip"),
        (1126, _STRING, "9"),
        (1132, _STRING, "noarch-linux"),
    ]
    tags += _files(name, paths) if files else []
    return write(directory / f"{nevr}.noarch.rpm", tags)


def _files(name: str, paths: list[str]) -> list[tuple[int, int, Value | bytes]]:
    """Tags of files in the package's own directory."""
    many = range(len(paths))
    return [
        (1028, _INT32, [0 for _ in many]),
        (1030, _INT16, [0o100644 for _ in many]),
        (1033, _INT16, [0 for _ in many]),
        (1034, _INT32, [1_700_000_000 for _ in many]),
        (1035, _ARRAY, [hashlib.md5(path.encode()).hexdigest() for path in paths]),
        (1036, _ARRAY, ["" for _ in many]),
        (1037, _INT32, [64 for _ in many]),  # ghosts: the payload has none of them
        (1039, _ARRAY, ["root" for _ in many]),
        (1040, _ARRAY, ["root" for _ in many]),
        (1095, _INT32, [1 for _ in many]),
        (1096, _INT32, [number + 1 for number in many]),
        (1097, _ARRAY, ["" for _ in many]),
        (1116, _INT32, [0 for _ in many]),
        (1117, _ARRAY, paths),
        (1118, _ARRAY, [f"/usr/share/{name}/"]),
    ]


def write(path: Path, tags: Sequence[tuple[int, int, Value | bytes]]) -> Path:
    """A package whose header has these tags: (tag, type, value)."""
    main = _header(63, tags)
    body = main + _PAYLOAD
    signature = _header(
        62,
        [
            (269, _STRING, hashlib.sha1(main).hexdigest()),
            (273, _STRING, hashlib.sha256(main).hexdigest()),
            (1000, _INT32, len(body)),
            (1004, _BIN, hashlib.md5(body).digest()),
            (1007, _INT32, 124),
        ],
    )
    lead = _LEAD.pack(b"\xed\xab\xee\xdb", 3, 0, 0, 1, path.name.encode()[:65], 1, 5, b"")
    path.write_bytes(lead + signature + bytes(-len(signature) % 8) + body)
    return path


def fill(repo: Path, first: int, count: int, *, success: bool = True) -> Iterator[str]:
    """So many build directories with a package each; their names."""
    for number in range(first, first + count):
        build = repo / f"{number:08}-tiny{number}"
        build.mkdir(parents=True)
        make(build, f"tiny{number}")
        if success:
            (build / "success").write_text("done\n")
        yield build.name
