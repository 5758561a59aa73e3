"""How metadata files are compressed. In each format pieces that follow each other are one stream
to every reader: so the blocks of a file can be made, kept and dropped one by one.

xz is none of them: libsolv, and so dnf and zypper, stops after the first of several streams.
"""

import contextlib
import gzip
import importlib
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backend.exceptions import InfrastructureError


@dataclass(frozen=True, kw_only=True)
class Codec:
    """`suffix` of a file's name; `pack` makes a piece, the same one of the same text; `unpack`
    takes one and raises what is in `BROKEN`; `open` reads a file."""

    suffix: str
    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes], bytes]
    open: Callable[[Path], Any]


#: What reading a damaged file raises, besides OSError and EOFError.
BROKEN: Final = (zlib.error, ValueError)


def _gzip(text: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(text) + packer.flush()


GZIP = Codec(
    suffix=".gz",
    pack=_gzip,
    unpack=lambda data: zlib.decompress(data, 31),
    open=gzip.open,
)


def _zstd_module() -> Any:
    """Part of Python since 3.14. No small thing: only who needs it has it."""
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise InfrastructureError(
        "[repository] compression = zstd needs Python 3.14, or:"
        f" {sys.executable} -m pip install backports.zstd"
    )


def _zstd() -> Codec:
    module = _zstd_module()

    def unpack(data: bytes) -> bytes:
        try:
            return bytes(module.decompress(data))
        except module.ZstdError as error:
            raise ValueError(f"damaged: {error}") from error

    return Codec(
        suffix=".zst",
        pack=lambda text: bytes(module.compress(text, level=10)),
        unpack=unpack,
        open=module.open,
    )


def named(name: str) -> Codec:
    """What the configuration calls gz or zstd. InfrastructureError if it cannot be had."""
    return _zstd() if name == "zstd" else GZIP


def of_file(name: str) -> Codec:
    """By the file's name; gzip if it says nothing."""
    return _zstd() if name.endswith(".zst") else GZIP
