"""Somebody who reads the repositories all the time: what he has seen stays, as it was."""

import contextlib
import threading
import zlib
from pathlib import Path
from xml.etree import ElementTree

from tests.chaos.verify import Verifier, packages

#: Seconds between two looks.
PAUSE = 0.2
#: Repository and location of a package.
Seen = tuple[Path, str]


class Reader(threading.Thread):
    """Start it, and `end` it with a verdict."""

    def __init__(self, destdir: Path) -> None:
        super().__init__(daemon=True)
        self._destdir = destdir
        self._ended = threading.Event()
        self._known: dict[Path, dict[str, str]] = {}
        self._changed: dict[Seen, str] = {}
        self.broken: list[str] = []
        self.looks = 0

    def run(self) -> None:
        """Look at one repository after the other."""
        while not self._ended.wait(PAUSE):
            for place in self._destdir.glob("*/*/*/repodata"):
                self._look(place.parent)

    def _look(self, repo: Path) -> None:
        try:
            found = {location: checksum for location, checksum, _ in packages(repo)}
        except FileNotFoundError:  # it changed between two reads: any dnf reads again
            return
        except (OSError, ValueError, zlib.error, ElementTree.ParseError) as error:
            self.broken.append(f"{repo}: cannot be read: {error}")
            return
        self.looks += 1
        for location, checksum in self._known.get(repo, {}).items():
            if found.get(location) != checksum:
                what = "was replaced" if location in found else "vanished"
                self._changed.setdefault((repo, location), what)
        self._known[repo] = found

    def end(self, verifier: Verifier) -> None:
        """Only builds that did not succeed in the end may have vanished."""
        self._ended.set()
        self.join()
        for text in self.broken:
            verifier.bad(text)
        for (repo, location), what in self._changed.items():
            with contextlib.suppress(ValueError):
                if repo / Path(location).parts[0] in verifier.succeeded:
                    verifier.bad(f"{repo}: {location} {what} after it had been published")
