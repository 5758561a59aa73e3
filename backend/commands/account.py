"""What the daemon's user may do with files, whoever asks."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from backend.identity import Identity


@dataclass(frozen=True)
class Account:
    """Whose rights the daemon will have."""

    uid: int
    gids: frozenset[int]

    @classmethod
    def mine(cls) -> "Account":
        """Of this process."""
        return cls(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))

    @classmethod
    def of(cls, identity: Identity | None) -> "Account":
        """Of the configured user, or else of this process."""
        if identity is None:
            return cls.mine()
        groups = os.getgrouplist(identity.name, identity.gid) if identity.name else []
        return cls(identity.uid, frozenset({identity.gid, *groups}))

    def __str__(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    def may_write(self, path: Path) -> bool:
        """True if it may make files in the directory."""
        return self._may(path, os.W_OK | os.X_OK)

    def may_read(self, path: Path) -> bool:
        """True if it may read the file; raises OSError for one that is not there."""
        path = path.resolve(strict=True)
        return self._may(path, os.R_OK) and all(self._may(p, os.X_OK) for p in path.parents)

    def _may(self, path: Path, needed: int) -> bool:
        info = path.stat()
        if self.uid == 0:
            return os.access(path, needed)
        if info.st_uid == self.uid:
            needed <<= 6
        elif info.st_gid in self.gids:
            needed <<= 3
        return info.st_mode & needed == needed
