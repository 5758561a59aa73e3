"""Tells a person at a terminal how a build goes: states, and the steps found in its logs."""

import re
import time
from typing import Protocol

from backend.exceptions import BuildError
from backend.layout import BUILDER_LOG
from backend.quickstart.client import FINISHED, Build, BuildChroot

#: Between two looks at the frontend.
PAUSE = 0.3
#: Lines of the log that are shown when a build failed.
TAIL = 15
_EXECUTING = re.compile(r"Executing\((%\w+)\):")
_WROTE = re.compile(r"Wrote: .*?([^/\s]+)$")


class Frontend(Protocol):
    """What this module asks a client for."""

    def build(self, number: int) -> Build: ...  # noqa: D102
    def chroots(self, number: int) -> list[BuildChroot]: ...  # noqa: D102
    def text(self, url: str, offset: int) -> bytes: ...  # noqa: D102


class Waiter(Protocol):
    """Something to wait with that notices signals and the daemon's end."""

    def wait(self, seconds: float | None) -> list[str]: ...  # noqa: D102


def say(line: str) -> None:
    """One line of progress, at once even when stdout is no terminal."""
    print(line, flush=True)


def step(line: str) -> str | None:
    """What a line of rpmbuild's log means to a newcomer; None for most lines."""
    if match := _EXECUTING.match(line):
        return match.group(1)
    if match := _WROTE.match(line):
        return f"wrote {match.group(1)}"
    return None


class LogReader:
    """Reads a live log from where it stopped the last time, by whole lines."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._offset = 0
        self._rest = b""
        self.tail: list[str] = []

    def new_lines(self, frontend: Frontend) -> list[str]:
        """Lines that were completed since the last call."""
        data = frontend.text(self._url, self._offset)
        self._offset += len(data)
        *complete, self._rest = (self._rest + data).split(b"\n")
        lines = [line.decode("utf-8", "replace").rstrip() for line in complete]
        self.tail = [*self.tail, *lines][-TAIL:]
        return lines


class Follower:
    """Remembers what was told already about one build."""

    def __init__(self, frontend: Frontend, number: int) -> None:
        self._frontend = frontend
        self._number = number
        self._states: dict[str, str] = {}
        self._logs: dict[str, LogReader] = {}

    def once(self) -> Build:
        """Look, tell what is new, and return the build as it is."""
        build = self._frontend.build(self._number)
        chroots = self._frontend.chroots(self._number)
        if not chroots:  # the source package comes first; then each chroot has its state
            self._tell_state("build", build.state)
        if build.state != "pending":
            self._tell_steps("source", f"{build.repo_url.rstrip('/')}/srpm-builds/{build.id:08d}/")
        for chroot in chroots:
            self._tell_chroot(chroot)
        if build.finished:
            self._tell_state("build", build.state)
        if build.finished and build.state != "succeeded":
            self._tell_tails()
        return build

    def _tell_chroot(self, chroot: BuildChroot) -> None:
        if chroot.state not in FINISHED:
            self._tell_state(chroot.name, chroot.state)
        if chroot.result_url:
            self._tell_steps(chroot.name, chroot.result_url)
        self._tell_state(chroot.name, chroot.state)

    def _tell_state(self, what: str, state: str) -> None:
        if self._states.get(what) != state:
            self._states[what] = state
            say(f"{what}: {state}" if what != "build" else f"build {self._number}: {state}")

    def _tell_steps(self, what: str, result_url: str) -> None:
        url = f"{result_url.rstrip('/')}/{BUILDER_LOG}"
        log = self._logs.setdefault(what, LogReader(url))
        for line in log.new_lines(self._frontend):
            if text := step(line):
                say(f"  {what} | {text}")

    def _tell_tails(self) -> None:
        for what, log in self._logs.items():
            for line in log.tail:
                say(f"  {what} | {line}")


class Unfinished(BuildError):
    """The build takes longer than was waited for; nothing else is wrong with it."""


def follow(frontend: Frontend, waiter: Waiter, number: int, *, limit: float) -> Build:
    """Tell how the build goes until it has finished; Unfinished after `limit` seconds."""
    follower = Follower(frontend, number)
    deadline = time.monotonic() + limit
    while not (build := follower.once()).finished:
        if time.monotonic() > deadline:
            raise Unfinished(f"build {number} is still {build.state} after {limit:g} s")
        waiter.wait(PAUSE)
    return build
