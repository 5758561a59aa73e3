"""Keys and signatures: `backend.sign` is the door, the modules here are the rooms behind it.

A backend (`gpg`, `obs`) keeps one key per project and signs with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, order=True)
class Project:
    """Whose key: `owner` (a user, or `@group`) and `name`; both name directories."""

    owner: str
    name: str

    @classmethod
    def of(cls, owner: str, dirname: str) -> "Project":
        """Side directories (`name:pr:7`) are signed with the key of their project."""
        return cls(owner, dirname.partition(":")[0])

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def real_name(self) -> str:
        """The name in the key's user id, as today's Copr writes it."""
        return f"{self.owner}_{self.name}"

    def address(self, domain: str) -> str:
        """The address in the key's user id, and the id of the key at obs-sign."""
        return f"{self.owner}#{self.name}@copr.{domain}"


class Backend(Protocol):
    """One kind of signing. All methods raise InfrastructureError when it is worth a retry."""

    def ensure(self, project: Project) -> bool:
        """Have a usable key; True if it had to be made. Safe to repeat, and to do at once."""

    def public(self, project: Project) -> bytes:
        """The public keys that readers of the project need, armored; the current one first."""

    def sign_copies(self, project: Project, copies: Sequence[Path]) -> None:
        """Sign RPM files in place; they are copies that nobody else sees."""

    def sign_file(self, project: Project, path: Path) -> bytes:
        """A detached signature, as binary packets."""
