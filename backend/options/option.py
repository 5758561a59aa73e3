"""What one option of `copr-be.conf` is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One key of the INI file.

    `kind` is one of str, secret, int, seconds, period (seconds, or a number with m, h or d),
    bool, path, paths (CHROOT=PATH, several), bytes, words, limits, dates, class (one of
    `choices`, or `package.module:Class`). An empty `default` of a path or a string means
    "derived", as `help` explains. `group` marks the keys
    `group<N>_<name>`, repeated for every builder group.
    """

    section: str
    name: str
    kind: str
    default: str
    help: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    group: bool = False

    @property
    def attribute(self) -> str:
        """Name of the field of `Config` (or of `Group`) that holds the value."""
        if self.group or self.section == "backend":
            return self.name
        return f"{self.section}_{self.name}"
