"""Keeps new builds from starting while a disk is nearly full; those that run go on."""

import os

from backend import diskguard
from backend.daemons.desk import Desk
from backend.diskguard import Room

#: Seconds between two looks; with nothing to do, longer.
EVERY, IDLE = 1.0, 5.0


class DiskGuard:
    """Sets `desk.full`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._looked = float("-inf")
        self._short: dict[str, str] = {}

    @property
    def due(self) -> float:
        """The tick of the next look that must be."""
        return self._looked + (EVERY if self._desk.full else IDLE)

    def step(self, tick: float) -> None:
        """Look if the last time is long enough ago; tell when it begins, and when it ends."""
        if tick < self._looked + EVERY:
            return
        self._looked = tick
        config = self._desk.config
        rooms = {}
        for path in {config.destdir, config.statedir}:
            try:
                disk = os.statvfs(path)
            except OSError:
                continue  # who needs the directory tells more
            block = disk.f_frsize
            rooms[str(path)] = Room(
                free=disk.f_bavail * block,
                total=disk.f_blocks * block,
                files=disk.f_favail,
                all_files=disk.f_files,
            )
        self._short = diskguard.short(rooms, config.min_free, already=self._short)
        before, self._desk.full = self._desk.full, "; ".join(sorted(self._short.values()))
        if bool(before) == bool(self._desk.full):
            return
        if self._desk.full:
            text = f"the disk is nearly full, nothing new is started: {self._desk.full}"
            self._desk.events.emit(text, "error", kind="disk.full")
        else:
            text = "there is room on the disk again, builds start again"
            self._desk.events.emit(text, kind="disk.free")
