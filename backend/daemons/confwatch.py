"""Notices that the configuration file was edited."""

from pathlib import Path

_Seen = tuple[int, int, int] | None


class ConfigWatch:
    """`changed()` is True once per edit, when the file has been at rest for a turn: editors
    write in pieces, and half a file is no configuration."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._candidate = self._look()

    def _look(self) -> _Seen:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def changed(self) -> bool:
        """To be called once a turn."""
        now = self._look()
        settled = now == self._candidate and now != self._known
        self._candidate = now
        if settled:
            self._known = now
        return settled

    def read_now(self) -> None:
        """Somebody reads the file for another reason: what it holds now is known."""
        self._known = self._candidate = self._look()
