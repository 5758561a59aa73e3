"""How facts look in a terminal: durations, sizes and columns."""

from collections.abc import Sequence

from backend.diskguard import size

__all__ = ["count", "duration", "plain", "size", "table"]
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def duration(seconds: float) -> str:
    """The two largest units, e.g. `3m 12s`, `2h 5m`, `0s`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for seconds_of, unit in _UNITS:
        if left >= seconds_of or parts:
            parts.append(f"{left // seconds_of}{unit}")
            left %= seconds_of
    kept = [part for part in parts[:2] if not part.startswith("0")]
    return " ".join(kept) or "0s"


def count(number: int, noun: str) -> str:
    """E.g. `1 task`, `3 tasks`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Lines with aligned columns; the first row is the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        (
            indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def plain(text: str) -> str:
    """One line without control characters: names and messages come from strangers."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
