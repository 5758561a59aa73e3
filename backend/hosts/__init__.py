"""WHERE a build runs: this machine, or one reached over SSH."""

from backend.hosts.address import Host

__all__ = ["Host"]
