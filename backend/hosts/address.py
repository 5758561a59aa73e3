"""Addresses of hosts: `local`, or `ssh://user@host[:port]`."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from backend.exceptions import ConfigError

_ADDRESS = re.compile(
    r"ssh://(?P<user>[A-Za-z_][A-Za-z0-9._-]{0,63})@"
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
SSH_PORT = 22


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where builds run. `local` is this machine: the other fields are empty then."""

    user: str = ""
    name: str = ""
    port: int = SSH_PORT

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `local` or `ssh://user@host[:port]`; raises ConfigError, with the remedy.

        No part can be mistaken for an option of ssh, and there is no place for a password.
        """
        if text == "local":
            return cls()
        match = _ADDRESS.fullmatch(text)
        if not match:
            raise ConfigError(
                f"{text[:200]!r} is no address of a host: write local or ssh://user@host[:port]"
                " ([…] around an IPv6 address; no password: a key is used)"
            )
        port = int(match["port"] or SSH_PORT)
        if not 0 < port < 65536:
            raise ConfigError(f"{text!r}: port {port} is out of range: 1 to 65535")
        if match["ipv6"]:
            try:
                ipaddress.IPv6Address(match["ipv6"])
            except ValueError as error:
                raise ConfigError(f"{text!r}: {error}: correct the address") from error
        return cls(user=match["user"], name=match["ipv6"] or match["name"], port=port)

    @property
    def is_local(self) -> bool:
        """True for this machine."""
        return not self.name

    def __str__(self) -> str:
        if self.is_local:
            return "local"
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"ssh://{self.user}@{name}" + (f":{self.port}" if self.port != SSH_PORT else "")
