"""WHERE a build runs: this machine, or one reached over SSH."""

import importlib
from collections.abc import Mapping
from typing import Protocol, cast

from backend.builders import Builder
from backend.config import Config
from backend.hosts.address import Host

__all__ = ["Host", "HostBuilder", "connect", "registry"]


class HostBuilder(Builder, Protocol):
    """A `Builder` on a host, with what its pool needs. Where the fault is the host's, every
    method raises HostError: another host may do it."""

    @property
    def address(self) -> str:
        """The host, as in the configuration."""

    def ping(self) -> None:
        """Return when the host answers and can build; raises HostError with the reason."""

    def close(self) -> None:
        """Let go of the connection. What still runs there ends by itself."""


def registry() -> Mapping[str, str]:
    """How hosts are reached → where its class is, imported only when it is used."""
    return {
        "local": "backend.hosts.local:LocalBuilder",
        "ssh": "backend.hosts.hosted:HostedBuilder",
    }


def connect(address: str, config: Config, limit: int = 1) -> HostBuilder:
    """The configured builder on a host; nothing is sent there before it is first used.

    `limit` is how many builds of this farm the host may have at once. Raises ConfigError for an
    address that is none.
    """
    host = Host.parse(address)
    module, _, name = registry()["local" if host.is_local else "ssh"].partition(":")
    found = getattr(importlib.import_module(module), name)
    return cast(HostBuilder, found(host, config, limit))
