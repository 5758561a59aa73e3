"""The user that the daemon runs as: found by name, given its directories, and become for good."""

import contextlib
import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from backend.config import Config
from backend.exceptions import ConfigError


@dataclass(frozen=True)
class Identity:
    """Numbers of the configured user and group; `name` is empty when only a group is set."""

    name: str
    uid: int
    gid: int
    home: str

    @classmethod
    def of(cls, config: Config) -> Self | None:
        """Who `user` and `group` name; None to stay who we are. Raises ConfigError."""
        if not config.user and not config.group:
            return None
        uid, home, name = os.geteuid(), os.environ.get("HOME", "/"), ""
        gid = os.getegid()
        if config.user:
            entry = _user(config)
            uid, gid, home, name = entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_name
        if config.group:
            gid = _group(config)
        if os.geteuid() != 0 and (uid, gid) != (os.geteuid(), os.getegid()):
            raise ConfigError(
                f"{config.path}: user = {config.user}, group = {config.group}: only root can"
                " change to them: start the daemon as root, or leave both empty"
            )
        return cls(name, uid, gid, home)

    def give(self, path: Path) -> None:
        """Make a directory or file that root has just made this user's own."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)

    def assume(self) -> None:
        """Become this user, with its groups and no way back."""
        if os.geteuid() != 0:
            return
        if self.name:
            os.initgroups(self.name, self.gid)
        elif self.gid != os.getegid():
            os.setgroups([self.gid])
        os.setgid(self.gid)
        os.setuid(self.uid)
        if self.uid:
            os.environ["HOME"] = self.home
            with contextlib.suppress(PermissionError):
                os.setuid(0)
                raise AssertionError("root's rights came back")


def _user(config: Config) -> pwd.struct_passwd:
    try:
        if config.user.isdigit():
            return pwd.getpwuid(int(config.user))
        return pwd.getpwnam(config.user)
    except KeyError:
        raise ConfigError(
            f"{config.path}: user = {config.user}: there is no such user:"
            f" useradd --system {config.user}, or name another"
        ) from None


def _group(config: Config) -> int:
    try:
        if config.group.isdigit():
            return grp.getgrgid(int(config.group)).gr_gid
        return grp.getgrnam(config.group).gr_gid
    except KeyError:
        raise ConfigError(
            f"{config.path}: group = {config.group}: there is no such group:"
            f" groupadd --system {config.group}, or name another"
        ) from None
