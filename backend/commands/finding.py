"""What `copr_be.py check` says of one thing."""

from dataclasses import dataclass

#: Name of a finding that is a mistake in the configuration file.
CONFIGURATION = "configuration"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `level`: ok, warning (it works, but), fault (it cannot work)."""

    name: str
    level: str
    text: str
