"""Looks into an RPM file without librpm: only at the tags of its signature header."""

import base64
import struct
from collections.abc import Iterator
from pathlib import Path

from backend import openpgp
from backend.exceptions import InfrastructureError

_LEAD = 96
_MAGIC = b"\x8e\xad\xe8\x01"
_HEADER = struct.Struct(">4s4xII")
_ENTRY = struct.Struct(">IIII")
#: DSA, RSA, OpenPGP, PGP and GPG signatures.
_SIGNATURES = {267, 268, 278, 1002, 1005}
_OPENPGP = 278
_MOST, _LARGEST = 4096, 64 * 1024**2

_Entry = tuple[int, int, int, int]


def is_signed(path: Path) -> bool:
    """True when the package carries a signature of any kind; what is no RPM carries none."""
    entries, _ = _signature_header(path)
    return any(tag in _SIGNATURES for tag, *_ in entries)


def signing_keys(path: Path) -> set[str]:
    """Ids (16 hexadecimal digits, upper case) of the keys whose signatures the package carries."""
    entries, store = _signature_header(path)
    found: set[str] = set()
    for tag, _, offset, count in entries:
        if tag == _OPENPGP:  # rpm 6: strings
            for text in store[offset:].split(b"\0")[:count]:
                found |= openpgp.signers(_decoded(text))
        elif tag in _SIGNATURES:
            found |= openpgp.signers(store[offset : offset + count])
    return found


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""


def _signature_header(path: Path) -> tuple[list[_Entry], bytes]:
    """The entries of the signature header, and the data that they point into."""
    try:
        with path.open("rb") as file:
            head = file.read(_LEAD + _HEADER.size)
            if len(head) < _LEAD + _HEADER.size:
                return [], b""
            magic, count, size = _HEADER.unpack_from(head, _LEAD)
            if magic != _MAGIC or count > _MOST or size > _LARGEST:
                return [], b""
            index, store = file.read(count * _ENTRY.size), file.read(size)
    except OSError as error:
        raise InfrastructureError(f"cannot read {path}: {error.strerror}") from error
    return list(_entries(index)), store


def _entries(index: bytes) -> Iterator[_Entry]:
    yield from _ENTRY.iter_unpack(index[: len(index) // _ENTRY.size * _ENTRY.size])
