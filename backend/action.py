"""The actions that a frontend hands out, parsed at the door; see `backend.actions` for the doing.

Sources of the fields: `pending-actions/` and `action/<id>/` of the backend namespace.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from backend.constants import ActionType
from backend.exceptions import ProtocolError
from backend.taskfields import component


@dataclass(frozen=True, kw_only=True)
class PendingAction:
    """One record of `pending-actions/`; smaller priorities come first."""

    id: int
    priority: int

    @classmethod
    def from_record(cls, raw: object) -> Self:
        """Check one record; raises ProtocolError naming the bad field."""
        if not isinstance(raw, Mapping):
            raise ProtocolError(f"pending-actions/ holds {str(raw)[:80]!r}")
        priority = raw.get("priority")
        known = isinstance(priority, int) and not isinstance(priority, bool)
        return cls(id=_identity(raw), priority=priority if known and priority else 0)


def _identity(raw: Mapping[str, Any]) -> int:
    number = raw.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**63:
        raise ProtocolError(f"action {str(number)[:40]!r}: field 'id' is no positive integer")
    return number


@dataclass(frozen=True, kw_only=True)
class Action:
    """One full action. `data` is what its `data` document holds, read by the accessors below.

    All accessors raise ProtocolError naming the field that is missing or no safe name.
    """

    id: int
    type: ActionType
    object_type: str
    data: Any
    old_value: str | None = None
    new_value: str | None = None

    @classmethod
    def from_record(cls, raw: object, number: int) -> Self:
        """Check the record of action `number`; raises ProtocolError naming the bad field."""
        if not isinstance(raw, Mapping) or _identity(raw) != number:
            raise ProtocolError(f"action/{number}/ answers {str(raw)[:80]!r}: not that action")
        try:
            kind = ActionType(raw["action_type"])
            data = json.loads(raw["data"]) if raw.get("data") is not None else {}
        except (LookupError, ValueError, TypeError, RecursionError) as error:
            raise ProtocolError(f"action {number}: {type(error).__name__}: {error}") from error
        old, new = raw.get("old_value"), raw.get("new_value")
        return cls(
            id=number,
            type=kind,
            object_type=str(raw.get("object_type") or ""),
            data=data,
            old_value=old if isinstance(old, str) else None,
            new_value=new if isinstance(new, str) else None,
        )

    @property
    def label(self) -> str:
        """For messages, e.g. `action 7 (delete builds)`."""
        return f"action {self.id} ({self.type.name.lower()} {self.object_type})"

    @property
    def projects(self) -> frozenset[str]:
        """`owner/project` of all that it touches: actions that share one run one by one."""
        found = {self.old_value, self.new_value}
        if isinstance(self.data, list):
            found |= {_main(str(name)) for name in self.data}
        elif isinstance(self.data, Mapping):
            owner = self.data.get("ownername")
            names = [self.data.get("projectname"), self.data.get("copr_dir")]
            dirnames = self.data.get("project_dirnames")
            names += list(dirnames) if isinstance(dirnames, list | dict) else []
            found |= {_main(f"{owner}/{name}") for name in names if isinstance(name, str)}
        return frozenset(name for name in found if name)

    def get(self, name: str) -> Any:
        """A member of `data`; None if there is none."""
        if not isinstance(self.data, Mapping):
            raise ProtocolError(f"action {self.id}: 'data' is no JSON object")
        return self.data.get(name)

    def name(self, field: str) -> str:
        """A member that names a directory."""
        return component(self.get(field), field)

    def names(self, field: str) -> tuple[str, ...]:
        """A list of directory names."""
        return _names(self.get(field), field)

    def mapping(self, field: str) -> dict[str, Any]:
        """An object whose keys name directories."""
        value = self.get(field)
        if not isinstance(value, Mapping):
            raise ProtocolError(f"field {field!r} is {type(value).__name__}, expected object")
        return {component(key, field): item for key, item in value.items()}

    def directories(self, field: str) -> dict[str, tuple[str, ...]]:
        """An object of lists of directory names (chroot → result directories)."""
        return {key: _names(item, field) for key, item in self.mapping(field).items()}

    def flag(self, field: str) -> bool:
        """A truth value; missing is false."""
        value = self.get(field)
        if value is not None and not isinstance(value, bool):
            raise ProtocolError(f"field {field!r} is {type(value).__name__}, expected bool")
        return bool(value)


def _main(name: str) -> str:
    return name.partition(":")[0]


def _names(value: object, field: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ProtocolError(f"field {field!r} is {type(value).__name__}, expected list")
    return tuple(component(item, field) for item in value)
