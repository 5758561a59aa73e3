"""Looks into an RPM file without librpm: only at the tags of its signature header."""

import struct
from pathlib import Path

from backend.exceptions import InfrastructureError

_LEAD = 96
_MAGIC = b"\x8e\xad\xe8\x01"
_HEADER = struct.Struct(">4s4xII")
_ENTRY = struct.Struct(">IIII")
#: DSA, RSA, OpenPGP, PGP and GPG signatures.
_SIGNATURES = {267, 268, 278, 1002, 1005}
_MOST = 4096


def is_signed(path: Path) -> bool:
    """True when the package carries a signature of any kind; what is no RPM carries none."""
    try:
        with path.open("rb") as file:
            head = file.read(_LEAD + _HEADER.size)
            if len(head) < _LEAD + _HEADER.size:
                return False
            magic, count, _ = _HEADER.unpack_from(head, _LEAD)
            if magic != _MAGIC or count > _MOST:
                return False
            index = file.read(count * _ENTRY.size)
    except OSError as error:
        raise InfrastructureError(f"cannot read {path}: {error.strerror}") from error
    entries = _ENTRY.iter_unpack(index[: len(index) // _ENTRY.size * _ENTRY.size])
    return any(tag in _SIGNATURES for tag, *_ in entries)
