"""Where one build runs: on this machine, or at a host that was leased for it."""

from dataclasses import dataclass

from backend.builders import Builder


@dataclass(frozen=True, kw_only=True)
class Site:
    """`name` is the host's, or `local`; `waited` the seconds until it was given."""

    builder: Builder
    name: str = "local"
    waited: float = 0.0
