"""This machine as a host."""

from typing import Any

from backend.builders.plugin import load_builder
from backend.config import Config
from backend.hosts.address import Host


class LocalBuilder:
    """The configured builder itself; there is nothing that could be lost on the way."""

    def __init__(self, host: Host, config: Config, limit: int = 1) -> None:
        self.address = str(host)
        self.limit = limit
        self._builder = load_builder(config)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    def ping(self) -> None:
        """Raises ToolError if the builder cannot work here."""
        self._builder.preflight()

    def close(self) -> None:
        """Nothing to let go of."""
