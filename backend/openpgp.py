"""As much of OpenPGP (RFC 4880) as one needs to see who signed, without a keyring. Pure."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

_SIGNATURE, _PUBLIC_KEY = 2, 6
_ISSUER, _ISSUER_FINGERPRINT = 16, 33
_BLOCK = re.compile(
    rb"-----BEGIN PGP ([A-Z ]+)-----\r?\n(.*?)-----END PGP \1-----", re.DOTALL | re.MULTILINE
)


def armor(data: bytes, kind: str = "SIGNATURE") -> bytes:
    """The text form of packets."""
    text = base64.b64encode(data).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    checksum = base64.b64encode(_crc24(data).to_bytes(3, "big")).decode()
    head, tail = f"-----BEGIN PGP {kind}-----", f"-----END PGP {kind}-----"
    return "\n".join([head, "", *lines, f"={checksum}", tail, ""]).encode()


def dearmor(text: bytes) -> bytes:
    """The packets of all blocks in a text, one after the other; none where nothing is readable."""
    found = b""
    for match in _BLOCK.finditer(text):
        _, _, body = (b"\n" + match.group(2).replace(b"\r", b"")).partition(b"\n\n")
        lines = [line for line in body.split() if not line.startswith(b"=")]
        try:
            found += base64.b64decode(b"".join(lines), validate=True)
        except binascii.Error:
            return b""
    return found


def _crc24(data: bytes) -> int:
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF


def split(data: bytes) -> Iterator[bytes]:
    """The packets, each with its header; ends where something is not understood."""
    at = 0
    while at < len(data):
        _, start, length = _header(data, at)
        if start < 0 or start + length > len(data):
            return
        yield data[at : start + length]
        at = start + length


def signers(data: bytes) -> set[str]:
    """Ids (16 hexadecimal digits, upper case) of the keys that made the signatures in `data`."""
    found = set()
    for packet in split(data):
        tag, start, _ = _header(packet, 0)
        if tag == _SIGNATURE:
            found |= _issuers(packet[start:])
    return found


def key_ids(data: bytes) -> list[str]:
    """Ids of the primary keys in `data` (binary), in their order."""
    found = []
    for packet in split(data):
        tag, start, length = _header(packet, 0)
        body = packet[start:]
        if tag == _PUBLIC_KEY and body[:1] == b"\x04":
            prefix = b"\x99" + length.to_bytes(2, "big")
            digest = hashlib.sha1(prefix + body, usedforsecurity=False).hexdigest()
            found.append(digest[-16:].upper())
    return found


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start and length of the body of the packet at `at`; start -1 if it is unreadable."""
    first = data[at]
    if not first & 0x80:
        return 0, -1, 0
    if not first & 0x40:  # the old format
        size = (1, 2, 4, 0)[first & 3]
        if not size:
            return 0, -1, 0
        start = at + 1 + size
        return first >> 2 & 0x0F, start, int.from_bytes(data[at + 1 : start], "big")
    start, length = _length(data, at + 1)
    return first & 0x3F, start, length


def _length(data: bytes, at: int) -> tuple[int, int]:
    """End and value of a length of the new format; the end is -1 if there is none."""
    first = data[at] if at < len(data) else 0xE0
    if first < 192:
        return at + 1, first
    if first < 224 and at + 1 < len(data):
        return at + 2, ((first - 192) << 8) + data[at + 1] + 192
    if first == 255:
        return at + 5, int.from_bytes(data[at + 1 : at + 5], "big")
    return -1, 0  # partial lengths: not in signatures and keys


def _issuers(body: bytes) -> set[str]:
    if body[:1] == b"\x03":
        return {body[7:15].hex().upper()}
    if body[:1] != b"\x04":
        return set()
    hashed = int.from_bytes(body[4:6], "big")
    after = 6 + hashed
    unhashed = int.from_bytes(body[after : after + 2], "big")
    areas = body[6:after], body[after + 2 : after + 2 + unhashed]
    return {found for area in areas for found in _subpackets(area)}


def _subpackets(area: bytes) -> Iterator[str]:
    at = 0
    while at < len(area):
        first = area[at]
        if 192 <= first < 255:
            low = int.from_bytes(area[at + 1 : at + 2], "big")
            start, length = at + 2, ((first - 192) << 8) + low + 192
        else:
            start, length = _length(area, at)
        if length < 1 or start + length > len(area):
            return
        kind, value = area[start] & 0x7F, area[start + 1 : start + length]
        if kind == _ISSUER:
            yield value.hex().upper()
        elif kind == _ISSUER_FINGERPRINT and value[:1] == b"\x04":
            yield value[-8:].hex().upper()
        at = start + length
