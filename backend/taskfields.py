"""The fields of what a frontend sends, checked one by one; every fault is a ProtocolError that
names the field."""

import re
from collections.abc import Mapping
from typing import Any

from backend.chroot import Chroot
from backend.exceptions import ProtocolError

_TASK_ID = re.compile(r"([0-9]{1,18})(?:-(.+))?")
#: A single path component that is harmless in paths, URLs and HTML alike.
_COMPONENT = re.compile(r"@?[A-Za-z0-9_][A-Za-z0-9._+:^~-]*")


def get(raw: Mapping[str, Any], name: str, kind: type, default: Any = ...) -> Any:
    """Field `name` of the record, of type `kind`; raises ProtocolError that names it if it is of
    another one, or missing. With a `default`, that stands in for a missing one and for null."""
    value = raw.get(name, default)
    if value is ... or (value is None and default is ...):
        raise ProtocolError(f"task {raw.get('task_id', '?')!r}: field {name!r} is missing")
    if value is None or value is default:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ProtocolError(
            f"task {raw.get('task_id', '?')!r}: field {name!r} is {type(value).__name__},"
            f" expected {kind.__name__}"
        )
    return value


def component(value: object, name: str) -> str:
    """`value` if it may name a directory; raises ProtocolError that mentions field `name`."""
    text = value if isinstance(value, str) else ""
    if not _COMPONENT.fullmatch(text) or ".." in text or len(text) > 200:
        raise ProtocolError(f"field {name!r} is {str(value)[:80]!r}: no safe path component")
    return text


def directory_name(raw: Mapping[str, Any], field: str) -> str:
    """A field that may name a directory, see `component`."""
    return component(get(raw, field, str), field)


def strings(raw: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A field that is a list of strings; missing or null: none."""
    values = get(raw, name, list, [])
    if not all(isinstance(value, str) for value in values):
        raise ProtocolError(f"task {raw.get('task_id', '?')!r}: {name!r} must hold strings")
    return tuple(values)


def split_task_id(task_id: str) -> tuple[int, Chroot | None]:
    """`"7"` is the source build 7; `"7-fedora-41-x86_64"` is its build for that chroot."""
    match = _TASK_ID.fullmatch(task_id)
    if not match:
        raise ProtocolError(f"{task_id[:80]!r} is no task id: expected <build> or <build>-<chroot>")
    chroot = match.group(2)
    return int(match.group(1)), Chroot.parse(chroot) if chroot else None
