"""A line to a host that may break: steps that can be repeated are, over new connections.

How long a host may be silent before it is given up is `[hosts] timeout`; after a third of that
a connection counts as hung, and after twice that the host ends a build that nobody asks for.
"""

import contextlib
import hashlib
import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import HostError, ProtocolError
from backend.hosts.address import Host
from backend.hosts.bundle import bundle
from backend.hosts.order import builder_module, host_config
from backend.hosts.ssh import Connection, Listener, Lost, Nobody
from backend.hosts.wire import Frame, WireError

T = TypeVar("T")
#: How long a host may take to try out its builder and to sweep, in seconds.
PATIENCE = 60.0
#: Pause between two tries to reach a host that was lost, in seconds.
PAUSE = 1.0
#: A connection that was heard of a moment ago is good without asking, in seconds.
FRESH = 2.0


class Line:
    """Not connected until `persist` or `connected` is called. `limit` builds of this farm at once
    is what the host allows."""

    def __init__(self, host: Host, config: Config, limit: int) -> None:
        self.address = str(host)
        self.farm = _farm(config)
        self.chroots: tuple[Chroot, ...] = ()
        self._host, self._config, self._limit = host, config, limit
        self._connection: Connection | None = None
        self._alive = 0.0  # when the host was heard of last, while we may wait for it
        self._shared = True

    @property
    def hang(self) -> float:
        """Seconds of silence after which another connection is tried."""
        return max(2.0, self._config.hosts_timeout / 3)

    @property
    def rhythm(self) -> float:
        """Seconds between two signs of life, of either side."""
        return max(1, self._config.hosts_timeout // 12)

    @property
    def connection(self) -> Connection | None:
        """The connection, if there is one, in whatever state."""
        return self._connection

    def persist(self, listener: Listener, step: Callable[[Connection], T]) -> T:
        """The result of a step, which is done again when a connection is lost on the way.

        Raises HostError when the host stays silent, and what the step and `listener` raise.
        """
        while True:
            connection = self.connected(listener)
            try:
                found = step(connection)
            except Lost as error:
                self._alive = max(self._alive, connection.heard)
                self._shared = False  # perhaps it is the shared connection that hangs
                self.close()
                self._give_up_in_time(error)
            except WireError as error:
                self.close()
                raise HostError(f"host {self.address}: it answers nonsense: {error}") from error
            else:
                self._alive = connection.heard
                return found

    def forget(self) -> None:
        """From now on a host that cannot be reached is given up at once."""
        self._alive = 0.0

    def connected(self, listener: Listener, fresh: float = FRESH) -> Connection:
        """A connection that works; raises HostError."""
        found = self._connection
        if found and time.monotonic() - found.heard > fresh:
            try:
                found.send("ping")
                self.reply(found, "pong", listener, self._config.hosts_connect_timeout)
            except (Lost, WireError):
                self._shared = False
                self.close()
        while not self._connection:
            try:
                self._connection = self._connect(listener)
            except Lost as error:
                self._try_again(listener, error)
            except (WireError, ProtocolError) as error:
                raise HostError(f"host {self.address}: it answers nonsense: {error}") from error
        return self._connection

    def claim(self, name: str, others: Sequence[str]) -> str:
        """The name by which our farm calls the host; see `runs.claim`. Raises HostError."""
        connection = self.connected(Nobody())
        try:
            connection.send("claim", name=name, others=list(others))
            return self.reply(connection, "claimed", Nobody(), PATIENCE).text("name")
        except (Lost, WireError) as error:
            self.close()
            raise HostError(f"host {self.address}: {error}") from error

    def close(self, patience: float = 0.0) -> None:
        """Let go of the connection; see `Connection.close`."""
        if self._connection:
            self._connection.close(patience)
            self._connection = None

    def reply(
        self, connection: Connection, kind: str, listener: Listener, patience: float
    ) -> Frame:
        """Wait for a frame of that kind; others are left out, but show that the host lives.

        Raises Lost after `patience` seconds of silence, HostError for trouble.
        """
        deadline = time.monotonic() + patience
        while True:
            frame = connection.next(listener, 1.0)
            if frame is None:
                if time.monotonic() > deadline:
                    raise Lost("it does not answer any more")
                continue
            if frame.kind == kind:
                return frame
            self.complain(frame)
            deadline = time.monotonic() + patience

    def complain(self, frame: Frame) -> None:
        """Raises HostError if the frame tells of trouble."""
        if frame.kind == "trouble":
            raise HostError(f"host {self.address}: {one_line(frame.text('text'))}")

    def _connect(self, listener: Listener) -> Connection:
        made = bundle(builder_module(self._config))
        connection = Connection(self._host, self._config, made, shared=self._shared)
        try:
            connection.greet(listener, self._patience())
            connection.send(
                "setup",
                config=host_config(self._config),
                farm=self.farm,
                lease=2 * self._config.hosts_timeout,
                tick=int(self.rhythm),
                limit=self._limit,
            )
            frame = self.reply(connection, "ready", listener, PATIENCE)
            names = frame.fields.get("chroots")
            if not isinstance(names, list):
                raise WireError("it names no chroots")
            self.chroots = tuple(Chroot.parse(str(name)[:200]) for name in names[:1000])
        except BaseException:
            connection.close()
            raise
        self._shared = True
        return connection

    def _patience(self) -> float:
        """How long a new connection may take: less when the host is to be given up before."""
        most = 2.0 * self._config.hosts_connect_timeout
        if not self._alive:
            return most
        left = self._alive + self._config.hosts_timeout - time.monotonic()
        return min(most, max(1.0, left))

    def _try_again(self, listener: Listener, error: Lost) -> None:
        """Raises HostError when there is no more time."""
        if self._shared:  # is it the shared connection, or the host?
            self._shared = False
            return
        self._shared = True
        self._give_up_in_time(error)
        fd = listener.wakeup_fd()
        select.select([fd] if fd >= 0 else [], [], [], PAUSE)
        listener.check()

    def _give_up_in_time(self, error: Lost) -> None:
        silent = time.monotonic() - self._alive
        if silent > self._config.hosts_timeout:
            since = f", not heard of for {silent:.0f} s" if self._alive else ""
            raise HostError(f"host {self.address}: {error}{since}") from error


def one_line(text: str) -> str:
    """What a host says, fit for a log."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split()) or "no reason is given"


def _farm(config: Config) -> str:
    """Tells our builds on a host from those of other farms."""
    machine = ""
    with contextlib.suppress(OSError):
        machine = Path("/etc/machine-id").read_text(encoding="ascii")
    return hashlib.sha256(f"{machine}\0{config.statedir}".encode()).hexdigest()[:16]
