"""Writes the three metadata files: compressed blocks that exist are copied, new ones are made.

Compressed pieces that follow each other are one stream to every reader (`codec`). So the first
piece (with the number of packages), each block of builds and the last piece are compressed for
themselves, and all that a publish compresses is what it adds.
"""

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

from backend.disk import FILE_MODE
from backend.repo.chunks import HEADS, KINDS, TAILS, Package
from backend.repo.codec import BROKEN, GZIP, Codec, of_file
from backend.repo.manifest import Block, Entry, Head, Manifest
from backend.repo.scan import Build

#: A block is full with so many builds, or with so many bytes of text.
BUILDS, BYTES = 64, 512 * 1024
#: So many blocks that are not full are put together.
LOOSE = 32
_PIECE = 1024**2


class Damaged(Exception):
    """Files are not what the manifest says: everything must be made anew."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """One metadata file that is on disk."""

    kind: str
    path: Path
    digest: str
    size: int
    opened: int


class Source:
    """The files of a state, to take blocks from; raises Damaged when they are not as recorded."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.codec = of_file(manifest.head.names[0])
        self._fds: list[int] = []
        try:
            for number, name in enumerate(manifest.head.names):
                self._fds.append(os.open(directory / name, os.O_RDONLY | os.O_CLOEXEC))
                status = os.fstat(self._fds[number])
                found = (status.st_size, status.st_mtime_ns)
                if found != (manifest.head.sizes[number], manifest.head.times[number]):
                    raise Damaged(f"{directory / name} is not as it was written")
        except OSError as error:
            self.close()
            raise Damaged(f"{directory}: {error.strerror}") from error
        except Damaged:
            self.close()
            raise

    def pieces(self, kind: int, start: int, size: int) -> Iterator[bytes]:
        """A range of bytes of one file."""
        while size:
            data = os.pread(self._fds[kind], min(size, _PIECE), start)
            if not data:
                raise Damaged("a metadata file is too short")
            yield data
            start, size = start + len(data), size - len(data)

    def texts(self, block: Block, starts: Sequence[int]) -> list[tuple[bytes, ...]]:
        """The texts of each build of a block that starts there in the three files."""
        found = []
        for kind, start in enumerate(starts):
            try:
                text = self.codec.unpack(b"".join(self.pieces(kind, start, block.sizes[kind])))
            except BROKEN as error:
                raise Damaged(f"a block of {KINDS[kind]} is damaged: {error}") from error
            ends = [0]
            for entry in block.entries:
                ends.append(ends[-1] + entry.sizes[kind])
            if ends[-1] != len(text):
                raise Damaged(f"a block of {KINDS[kind]} has the wrong size")
            found.append([text[a:b] for a, b in pairwise(ends)])
        return list(zip(*found, strict=True))

    def close(self) -> None:
        """Close the files."""
        while self._fds:
            os.close(self._fds.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _File:
    """One file under construction."""

    def __init__(self, path: Path, head: bytes, codec: Codec) -> None:
        self.path, self._codec = path, codec
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self.fd = os.open(path, flags, FILE_MODE)
        os.fchmod(self.fd, FILE_MODE)
        self.hash, self.size, self.opened = hashlib.sha256(), 0, 0
        self.head = self.member(head)

    def member(self, text: bytes) -> int:
        """Compress and add it; the compressed size."""
        data = self._codec.pack(text)
        self.raw(data)
        self.opened += len(text)
        return len(data)

    def raw(self, data: bytes) -> None:
        """Add what is compressed."""
        self.hash.update(data)
        self.size += len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.fd, rest) :]


class Writer:
    """Three files that grow block by block; `packages` is how many they will list."""

    def __init__(self, directory: Path, packages: int, codec: Codec = GZIP) -> None:
        self._directory, self._packages, self._codec = directory, packages, codec
        self._files = [
            _File(directory / kind, head % packages, codec)
            for kind, head in zip(KINDS, HEADS, strict=True)
        ]
        self._body: list[bytes] = []
        self._pending: list[tuple[Entry, tuple[bytes, ...]]] = []
        self._bytes = self._written = self._loose = 0

    def keep_all(self, source: Source) -> None:
        """Take every block of a state over."""
        head = source.manifest.head
        for kind, file in enumerate(self._files):
            size = head.sizes[kind] - head.heads[kind] - head.tails[kind]
            for piece in source.pieces(kind, head.heads[kind], size):
                file.raw(piece)
            file.opened += head.opens[kind] - _frame(kind, head.packages)
        self._body.append(source.manifest.body)
        self._loose += head.loose
        self._written += head.packages

    def keep(self, source: Source, cut: Collection[str]) -> None:
        """Take the blocks of a state over without the builds `cut`; small ones are put together."""
        starts = list(source.manifest.head.heads)
        for block in source.manifest.blocks():
            if full(block) and not any(entry.name in cut for entry in block.entries):
                self._take(source, block, starts)
            else:
                for entry, texts in zip(block.entries, source.texts(block, starts), strict=True):
                    if entry.name not in cut:
                        self._add(entry, texts)
            starts = [start + size for start, size in zip(starts, block.sizes, strict=True)]

    def _take(self, source: Source, block: Block, starts: Sequence[int]) -> None:
        for kind, file in enumerate(self._files):
            for piece in source.pieces(kind, starts[kind], block.sizes[kind]):
                file.raw(piece)
            file.opened += sum(entry.sizes[kind] for entry in block.entries)
        self._body.append(block.lines())
        self._written += sum(len(entry.files) for entry in block.entries)

    def add(self, build: Build, packages: Sequence[Package]) -> None:
        """Add a build of which `packages` are to be listed."""
        texts = tuple(b"".join(p.texts[kind] for p in packages) for kind in range(len(KINDS)))
        names = tuple(package.path.partition("/")[2] for package in packages)
        # What could not be read is to be looked at again.
        stamp = build.stamp if len(names) == len(build.files) else "?"
        sizes = tuple(map(len, texts))
        self._add(Entry(name=build.name, stamp=stamp, sizes=sizes, files=names), texts)

    def _add(self, entry: Entry, texts: tuple[bytes, ...]) -> None:
        self._pending.append((entry, texts))
        self._bytes += sum(entry.sizes)
        if len(self._pending) >= BUILDS or self._bytes >= BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        sizes = tuple(
            file.member(b"".join(texts[kind] for _, texts in self._pending))
            for kind, file in enumerate(self._files)
        )
        block = Block(sizes=sizes, entries=tuple(entry for entry, _ in self._pending))
        self._body.append(block.lines())
        self._loose += not full(block)
        self._written += sum(len(entry.files) for entry in block.entries)
        self._pending, self._bytes = [], 0

    def finish(self) -> tuple[list[Written], Manifest]:
        """Give the files their final names; they are not synced."""
        self._flush()
        if self._written != self._packages:
            raise Damaged(f"{self._written} packages are described instead of {self._packages}")
        tails = [file.member(tail) for file, tail in zip(self._files, TAILS, strict=True)]
        times, found = [], []
        for kind, file in zip(KINDS, self._files, strict=True):
            digest = file.hash.hexdigest()
            path = self._directory / f"{digest}-{kind}.xml{self._codec.suffix}"
            file.path.rename(path)
            times.append(os.fstat(file.fd).st_mtime_ns)
            written = Written(
                kind=kind, path=path, digest=digest, size=file.size, opened=file.opened
            )
            found.append(written)
        self.close()
        head = Head(
            packages=self._packages,
            names=tuple(written.path.name for written in found),
            sizes=tuple(written.size for written in found),
            times=tuple(times),
            heads=tuple(file.head for file in self._files),
            tails=tuple(tails),
            opens=tuple(written.opened for written in found),
            loose=self._loose,
        )
        return found, Manifest(head=head, body=b"".join(self._body))

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            if file.fd >= 0:
                os.close(file.fd)
            file.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def full(block: Block) -> bool:
    """True when nothing is to be added to it any more."""
    if len(block.entries) >= BUILDS:
        return True
    return sum(sum(entry.sizes) for entry in block.entries) >= BYTES


def _frame(kind: int, packages: int) -> int:
    """Bytes of the first and the last piece."""
    return len(HEADS[kind] % packages) + len(TAILS[kind])
