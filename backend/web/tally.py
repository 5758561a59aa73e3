"""Counts what ended since this process began."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from backend.constants import Status


class Tally:
    """Reports that ended tasks, by state; only used on the event loop."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self._sampled: Counter[str] = Counter()

    def count(self, report: Mapping[str, Any]) -> None:
        """Count a report if it ends a task."""
        status = report.get("status")
        if status == Status.SUCCEEDED:
            self.ended["succeeded"] += 1
        elif status == Status.FAILED:
            self.ended["failed"] += 1
            verdict = report.get("triage")
            kind = verdict.get("kind") if isinstance(verdict, dict) else None
            self.kinds[kind if isinstance(kind, str) and kind.isalpha() else "unknown"] += 1

    def unsampled(self) -> tuple[int, int]:
        """Succeeded and failed ones that no sample tells of yet."""
        fresh = self.ended - self._sampled
        return fresh["succeeded"], fresh["failed"]

    def since_sample(self) -> tuple[int, int]:
        """The same, which from now on are told of."""
        fresh = self.unsampled()
        self._sampled = self.ended.copy()
        return fresh
