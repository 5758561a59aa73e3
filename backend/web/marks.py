"""Where pages of long lists of builds begin, so that the way there costs nothing.

A mark says: so many builds of the project have a smaller id than this. New builds, whose ids are
larger than all others, leave that true; deleting a build does not.
"""

import bisect
import threading

#: Builds between two marks: to walk over so many of an index takes microseconds.
STEP = 500
#: Projects with marks; beyond that all are forgotten.
_MOST = 10_000


class Marks:
    """Marks of all projects; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: dict[int, list[tuple[int, int]]] = {}
        self._version = 0

    @property
    def version(self) -> int:
        """Read this before the database: what was read before a deletion makes no mark."""
        return self._version

    def before(self, project: int, offset: int) -> tuple[int, int]:
        """The last mark that is not beyond `offset`: how many builds, and the id."""
        with self._lock:
            known = self._marks.get(project, [])
            place = bisect.bisect_right(known, offset, key=lambda mark: mark[0])
            return known[place - 1] if place else (0, 0)

    def beyond(self, project: int, offset: int) -> tuple[int, int] | None:
        """The first mark that is not before `offset`, if there is one."""
        with self._lock:
            known = self._marks.get(project, [])
            place = bisect.bisect_left(known, offset, key=lambda mark: mark[0])
            return known[place] if place < len(known) else None

    def last(self, project: int) -> tuple[int, int]:
        """The last mark of all."""
        with self._lock:
            return (self._marks.get(project) or [(0, 0)])[-1]

    def add(self, version: int, project: int, offset: int, first: int) -> None:
        """`offset` builds have a smaller id than `first`, as of that version."""
        with self._lock:
            if version != self._version:
                return
            if len(self._marks) >= _MOST:
                self._marks.clear()
            known = self._marks.setdefault(project, [])
            place = bisect.bisect_right(known, offset, key=lambda mark: mark[0])
            near = [known[place - 1][0] if place else 0, *(mark[0] for mark in known[place:][:1])]
            if all(abs(offset - other) >= STEP for other in near):
                known.insert(place, (offset, first))

    def forget(self, project: int) -> None:
        """A build of the project was deleted; call it after the commit."""
        with self._lock:
            self._version += 1
            self._marks.pop(project, None)
