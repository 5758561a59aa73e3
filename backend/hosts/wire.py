"""How a worker and the agent on a host talk: frames over the standard streams of ssh.

A frame is a JSON object and some bytes. Values of our own (a BuildRequest, a Package) travel as
JSON and are read back by the types of their fields: nothing else can come out.
"""

import dataclasses
import json
import struct
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from backend.chroot import Chroot

T = TypeVar("T")
_HEAD = struct.Struct("!II")
#: Most bytes of the two parts of a frame.
MAX_JSON = 4 * 1024**2
MAX_DATA = 1024**2
#: How much of a file goes into one frame.
CHUNK = 256 * 1024


class WireError(ValueError):
    """What arrived is no frame, or not the value that was expected."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """`fields["kind"]` says what it is."""

    fields: Mapping[str, Any]
    data: bytes = b""

    @property
    def kind(self) -> str:
        """What the frame is; empty if it does not say."""
        kind = self.fields.get("kind")
        return kind if isinstance(kind, str) else ""

    def number(self, name: str, most: int = 2**62) -> int:
        """A field that must be a whole number from 0 to `most`."""
        value = self.fields.get(name)
        if type(value) is not int or not 0 <= value <= most:
            raise WireError(f"{self.kind}: {name} is no number up to {most}")
        return value

    def text(self, name: str, most: int = 4000) -> str:
        """A field that must be a text; what is longer than `most` is cut."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise WireError(f"{self.kind}: {name} is no text")
        return value[:most]


def pack(kind: str, data: bytes = b"", **fields: Any) -> bytes:
    """The bytes of one frame."""
    text = json.dumps({"kind": kind, **fields}).encode()
    return _HEAD.pack(len(text), len(data)) + text + data


class Inbox:
    """Takes bytes as they arrive, and gives the whole frames among them."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now; raises WireError at the first bad one."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            text_size, data_size = _HEAD.unpack_from(self._buffer)
            if text_size > MAX_JSON or data_size > MAX_DATA:
                raise WireError("a frame is too large")
            end = _HEAD.size + text_size + data_size
            if len(self._buffer) < end:
                return
            text = bytes(self._buffer[_HEAD.size : _HEAD.size + text_size])
            content = bytes(self._buffer[_HEAD.size + text_size : end])
            del self._buffer[:end]
            yield Frame(_object(text), content)


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a frame is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise WireError("a frame is no JSON object")
    return value


def to_json(value: Any) -> Any:
    """A value of our own, made of what JSON knows."""
    if isinstance(value, Chroot | Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: to_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset | set):
        return [to_json(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value


def from_json(cls: type[T], value: object) -> T:
    """The value of type `cls` that `to_json` made this of; raises WireError if it is none."""
    try:
        return typing.cast(T, _read(cls, value))
    except WireError:
        raise
    except (TypeError, ValueError, KeyError) as error:
        raise WireError(f"no {getattr(cls, '__name__', cls)}: {error}") from error


def _read(kind: Any, value: Any) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        (only,) = (arg for arg in args if arg is not type(None))
        return _read(only, value)
    if origin is tuple:
        if not isinstance(value, list):
            raise WireError(f"no list: {str(value)[:80]!r}")
        return tuple(_read(args[0], item) for item in value)
    if origin is not None or kind is Any:  # a Mapping of foreign objects
        if origin is not None and not isinstance(value, dict):
            raise WireError(f"no object: {str(value)[:80]!r}")
        return value
    return _simple(kind, value)


def _simple(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and kind is not Chroot:
        if not isinstance(value, dict):
            raise WireError(f"no object: {str(value)[:80]!r}")
        hints = typing.get_type_hints(kind)
        known = {name: _read(hints[name], item) for name, item in value.items() if name in hints}
        make = typing.cast(typing.Callable[..., Any], kind)
        return make(**known)
    if kind in (Path, Chroot):
        if not isinstance(value, str):
            raise WireError(f"no text: {str(value)[:80]!r}")
        return Chroot.parse(value) if kind is Chroot else Path(value)
    if kind is bytes and isinstance(value, str):
        return value.encode("latin-1")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise WireError(f"no {kind.__name__}: {str(value)[:80]!r}")
    return value
