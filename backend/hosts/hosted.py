"""Any builder, on a host over SSH: what `Builder` promises, over a line that may break.

The host is not trusted: what it answers is parsed strictly, what it sends is limited, and
results are checked here like those of a build of our own.
"""

import secrets
import time
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
    Killed,
    Stopped,
)
from backend.hosts.address import Host
from backend.hosts.fetch import Store, Wanted, wanted
from backend.hosts.line import Line, one_line
from backend.hosts.ssh import Connection, Lost, Nobody
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
        journey = _Journey(self._line, request, monitor)
        try:
            outcome = journey.outcome()
            store = Store(self._config, request, source)
            files = wanted(self.address, outcome, self._config)
            journey.fetch(store, files)
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

    def close(self) -> None:
        """Let go of the connection. What still runs there ends by itself."""
        self._line.close(FAREWELL)


class _Journey:
    """One build on its way: started, followed, fetched, ended."""

    def __init__(self, line: Line, request: BuildRequest, monitor: Monitor) -> None:
        self._line, self._request, self._monitor = line, request, monitor
        self._run = ""
        self._offset = 0
        self._followed = False
        self._asked = 0.0

    def outcome(self) -> dict[str, Any]:
        """Start it, and follow it to its end. Raises what the builder raised there."""
        self._run = self._line.persist(self._monitor, self._start)
        deadline = time.monotonic() + self._request.timeout + PATIENCE
        found = self._line.persist(self._monitor, lambda line: self._follow(line, deadline))
        self._judge(found)
        return found

    def fetch(self, store: Store, files: tuple[Wanted, ...]) -> None:
        """Take the results."""
        needed = [file for file in files if store.needs(file)]
        self._line.persist(self._monitor, lambda line: self._fetch(line, store, needed))

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
                if frame and self._take(frame) is not None:
                    return
        except (Lost, HostError, WireError):
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

    def _judge(self, outcome: dict[str, Any]) -> None:
        kind = outcome.get("error")
        if kind is None:
            return
        text = one_line(str(outcome.get("text"))[:4000])
        if kind == "BuildError":
            raise BuildError(text)
        if kind == "Killed":
            raise Killed(f"host {self._line.address}: {text}")
        raise self._fault(text)

    def _fetch(self, connection: Connection, store: Store, files: list[Wanted]) -> None:
        missing = [file for file in files if store.have(file) < file.size]
        for file in missing:
            connection.send("fetch", run=self._run, number=file.number, offset=store.have(file))
        for file in missing:
            with store.open(file) as fd:
                self._fill(connection, fd, file.size - store.have(file))

    def _fill(self, connection: Connection, fd: int, rest: int) -> None:
        while True:
            frame = connection.next(self._monitor, self._line.rhythm)
            if frame is None:
                if time.monotonic() - connection.heard > self._line.hang:
                    raise Lost("the connection hangs")
                continue
            self._line.complain(frame)
            if frame.kind == "data":
                rest -= len(frame.data)
                if rest < 0:
                    raise self._fault("a result is larger than it said")
                disk.append(fd, frame.data)
            elif frame.kind == "fetched":
                if rest:
                    raise self._fault("a result is smaller than it said")
                return

    def _fault(self, text: str) -> HostError:
        return HostError(f"host {self._line.address}: {text}")
