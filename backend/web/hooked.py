"""What handlers know of webhooks without asking the database, and a bell for who sends."""

import asyncio
from collections.abc import Iterable


class Hooked:
    """Which projects may have webhooks, so that all others cost nothing.

    `projects` holds every project that has one, and perhaps some that had one.
    """

    def __init__(self) -> None:
        self.projects: frozenset[int] = frozenset()
        self.bell = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Remember the running loop, in which somebody waits for the bell."""
        self._loop = asyncio.get_running_loop()

    def learn(self, projects: Iterable[int]) -> None:
        """These have webhooks."""
        self.projects = self.projects.union(projects)

    def ring(self) -> None:
        """There may be something to send; from any thread."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.bell.set)
