"""Which process is meant: its number, and since when it has run."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same number.

    `start` is the kernel's start time in clock ticks since boot (/proc/PID/stat, field 22).
    """

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Identify a running process; None if there is none (a zombie counts as none)."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(b")")[2].decode().split()
        if fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]))

    @property
    def state(self) -> str:
        """The kernel's letter for what it does (`S`, `R`, `T`, …); empty when it is gone."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        fields = stat.rpartition(b")")[2].decode().split()
        same = int(fields[19]) == self.start and fields[0] not in "ZX"
        return fields[0] if same else ""

    @property
    def alive(self) -> bool:
        """True while this very process runs."""
        return type(self).of(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; False if it is gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:  # checked while the descriptor pins the number
                return False
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True
