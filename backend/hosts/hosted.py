"""Any builder, on a host over SSH: what `Builder` promises, over a line that may break.

The host is not trusted: what it answers is parsed strictly, what it sends is limited, and
results are checked here like those of a build of our own.
"""

import contextlib
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend import disk
from backend.builders import Artifact, BuildRequest, Monitor, SourceInfo
from backend.builders.plugin import load_builder
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import (
    BuildError,
    Canceled,
    HostError,
    InfrastructureError,
    Killed,
    Stopped,
)
from backend.hosts.address import Host
from backend.hosts.fetch import Errand, Store, logs, wanted
from backend.hosts.line import Line, one_line
from backend.hosts.ssh import Connection, Listener, Lost, Nobody
from backend.hosts.wire import CHUNK, Frame, WireError, to_json

#: How long a host may take to end a build after its own limit, in seconds.
PATIENCE = 90.0
#: How long we wait for the last words of a build that was canceled, in seconds.
LAST_WORDS = 10.0
#: How long a connection may take to end in good order, in seconds.
FAREWELL = 10.0
#: What a log may have beyond its limit: the reason why it ended.
_MORE_LOG = 1024**2


class HostedBuilder:
    """The configured builder on `host`. Makes its connection when it is first needed.

    `limit` is how many builds of this farm the host may have at once: one that was lost there
    ends before a new one begins.
    """

    def __init__(self, host: Host, config: Config, limit: int = 1) -> None:
        self._config = config
        self._line = Line(host, config, limit)
        self._plain = load_builder(config)
        self._here = RpmbuildBuilder(config)

    @property
    def address(self) -> str:
        """The host, as in the configuration."""
        return self._line.address

    # --- Builder --------------------------------------------------------------------------

    def preflight(self) -> None:
        """Raises ToolError if results cannot be checked here, HostError if the host is not fit."""
        self._here.preflight()
        self.ping()

    def chroots(self) -> tuple[Chroot, ...]:
        """What the builder can build for there."""
        if not self._line.chroots:
            self._line.connected(Nobody())
        return self._line.chroots

    def inspect(self, srpm: Path, workdir: Path, slot: int) -> SourceInfo:
        """Read a source package, here: the host's word would not count."""
        return self._here.inspect(srpm, workdir, slot)

    def cleanup(self, workdir: Path, slot: int) -> None:
        """Remove a work directory here; the host cleans up after itself."""
        self._here.cleanup(workdir, slot)

    def notes(self, request: BuildRequest) -> tuple[str, ...]:
        """What the builder leaves out."""
        notes = getattr(self._plain, "notes", None)
        return tuple(notes(request)) if notes else ()

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        """Build there, take the results, and check them here."""
        source = request.source
        if source is None:
            source = self.inspect(request.srpm, request.workdir, request.slot).package
        self._line.forget()
        journey = _Journey(self._line, self._config, request, monitor)
        try:
            outcome = journey.outcome()
            if "error" in outcome:
                journey.fetch_logs(outcome)
                raise journey.verdict(outcome)
            store = Store(self._config, request, source)
            files = wanted(self.address, outcome, self._config)
            journey.fetch([*store.errands(files), *journey.logs(outcome)])
        except (Canceled, Stopped):
            journey.last_words()
            raise
        finally:
            journey.end()
            self._line.forget()
        try:
            return store.checked(files)
        except BuildError as error:
            monitor.output(f"error: {error}\n".encode())
            raise

    # --- for its pool ---------------------------------------------------------------------

    def ping(self) -> None:
        """Return when the host answers and can build; raises HostError with the reason.

        Takes no longer than a few `[hosts] connect_timeout`, and what the builder's own
        preflight takes.
        """
        self._line.forget()
        self._line.connected(Nobody(), fresh=0.0)

    def claim(self, name: str, others: Sequence[str]) -> str:
        """By which name our farm calls the machine: this, or one of `others`, if it has been
        called by that since it was started. Raises HostError."""
        return self._line.claim(name, others)

    def close(self) -> None:
        """Let go of the connection. What still runs there ends by itself."""
        self._line.close(FAREWELL)


class _Journey:
    """One build on its way: started, followed, fetched, ended."""

    def __init__(self, line: Line, config: Config, request: BuildRequest, monitor: Monitor) -> None:
        self._line, self._config, self._request, self._monitor = line, config, request, monitor
        self._run = ""
        self._offset = 0
        self._followed = False
        self._asked = 0.0

    def outcome(self) -> dict[str, Any]:
        """Start it, follow it to its end, and return how that was."""
        self._run = self._line.persist(self._monitor, self._start)
        deadline = time.monotonic() + self._request.timeout + PATIENCE
        return self._line.persist(self._monitor, lambda line: self._follow(line, deadline))

    def verdict(self, outcome: dict[str, Any]) -> Exception:
        """What the builder raised there."""
        kind, text = outcome["error"], one_line(str(outcome.get("text"))[:4000])
        if kind == "BuildError":
            return BuildError(text)
        if kind == "Killed":
            return Killed(f"host {self._line.address}: {text}")
        return self._fault(text)

    def logs(self, outcome: dict[str, Any]) -> list[Errand]:
        """Those that the builder kept there."""
        return logs(self._line.address, outcome, self._request, self._config.hosts_max_results)

    def fetch(self, errands: list[Errand]) -> None:
        """Take results and logs."""
        self._line.persist(
            self._monitor, lambda line: self._fetch(line, errands, self._monitor, float("inf"))
        )

    def fetch_logs(self, outcome: dict[str, Any]) -> None:
        """Take the logs of a build that failed; they only inform."""
        with contextlib.suppress(InfrastructureError, OSError):
            self.fetch(self.logs(outcome))

    def last_words(self) -> None:
        """End it, and hear what it says then; not for long."""
        connection = self._line.connection
        if not connection or not self._followed:
            return
        deadline = time.monotonic() + LAST_WORDS
        try:
            connection.send("cancel", run=self._run)
            while time.monotonic() < deadline:
                frame = connection.next(Nobody(), 1.0)
                if frame and (outcome := self._take(frame)) is not None:
                    self._fetch(connection, self.logs(outcome), Nobody(), deadline)
                    return
        except (Lost, InfrastructureError, WireError, OSError):
            self._line.close()

    def end(self) -> None:
        """Nobody needs the run any more: say so, if there is a line to say it on."""
        connection = self._line.connection
        if connection and self._run:
            try:
                connection.send("done", run=self._run)
            except (Lost, HostError):
                self._line.close()

    def _start(self, connection: Connection) -> str:
        if self._run:  # the connection was lost before we heard whether it runs
            connection.send("done", run=self._run)
        run = f"{self._line.farm}-{secrets.token_hex(8)}"
        srpm, size = self._request.srpm, 0
        connection.send("open", run=run, name=srpm.name)
        with srpm.open("rb") as file:
            while data := file.read(CHUNK):
                connection.send("data", data)
                self._monitor.check()
                size += len(data)
        connection.send("start", request=to_json(self._request), size=size)
        self._run = run  # from now on it may run there
        self._line.reply(connection, "started", self._monitor, self._line.hang)
        return run

    def _follow(self, connection: Connection, deadline: float) -> dict[str, Any]:
        connection.send("follow", run=self._run, offset=self._offset)
        self._followed = True
        while True:
            frame = connection.next(self._monitor, self._line.rhythm)
            now = time.monotonic()
            if frame and (found := self._take(frame)) is not None:
                self._followed = False
                return found
            if now - connection.heard > self._line.hang:
                raise Lost("the connection hangs")
            if now > deadline:
                raise self._fault("it did not end the build at its limit")
            self._keep(connection)

    def _take(self, frame: Frame) -> dict[str, Any] | None:
        """A piece of the log, or the outcome."""
        if frame.kind == "log":
            self._offset += len(frame.data)
            if self._offset > self._request.max_log + _MORE_LOG:
                raise self._fault("it sends more log than was allowed")
            self._monitor.output(frame.data)
        elif frame.kind == "end":
            found = frame.fields.get("outcome")
            if not isinstance(found, dict):
                raise WireError("the build has no outcome")
            return found
        self._line.complain(frame)
        return None

    def _keep(self, connection: Connection) -> None:
        """Tell the host that its build is still wanted."""
        now = time.monotonic()
        if now - self._asked >= self._line.rhythm:
            connection.send("keep")
            self._asked = now

    def _fetch(
        self, connection: Connection, errands: list[Errand], listener: Listener, deadline: float
    ) -> None:
        missing = [(file, place) for file, place in errands if file.have(place) < file.size]
        for file, place in missing:
            number, offset = file.number, file.have(place)
            connection.send("fetch", run=self._run, list=file.list, number=number, offset=offset)
        for file, place in missing:
            rest = file.size - file.have(place)
            with file.open(place) as fd:
                while rest >= 0:
                    data = self._piece(connection, rest, listener, deadline)
                    disk.append(fd, data)
                    rest = rest - len(data) if data else -1

    def _piece(
        self, connection: Connection, rest: int, listener: Listener, deadline: float
    ) -> bytes:
        """More of a file that has `rest` bytes yet; none at its end."""
        while True:
            frame = connection.next(listener, self._line.rhythm)
            now = time.monotonic()
            if now > deadline:
                raise Lost("there is no more time")
            if frame is None:
                if now - connection.heard > self._line.hang:
                    raise Lost("the connection hangs")
                continue
            self._line.complain(frame)
            if frame.kind == "data" and frame.data:
                if len(frame.data) > rest:
                    raise self._fault("a result is larger than it said")
                return frame.data
            if frame.kind == "fetched":
                if rest:
                    raise self._fault("a result is smaller than it said")
                return b""

    def _fault(self, text: str) -> HostError:
        return HostError(f"host {self._line.address}: {text}")
