"""Ends connections whose client is too slow to mean it: uvicorn itself waits for ever for the
rest of a request, and holds a descriptor and memory meanwhile."""

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as Base
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as Base

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: 47\r\n"
    b"Connection: close\r\n\r\n" + b'{"error": "The request took too long to come."}'
)
HEAD, BODY, REPLY = "head", "body", "reply"


class Protocol(Base):
    """A connection that counts what arrives."""

    received = 0

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        self.received += len(data)
        super().data_received(data)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds for all headers of a request; seconds within which at least `least` bytes of its
    body must come; seconds in which a client must take something of its answer."""

    head: float = 20.0
    body: float = 30.0
    least: int = 4096
    reply: float = 300.0


@dataclass
class _Watch:
    """What was seen of a connection: since when it is as it is."""

    cycle: Any
    phase: str
    since: float
    received: int = 0
    unsent: int = 0


class Guard:
    """`look` finds the connections that are to be ended; to be called about once a second."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._seen: dict[Any, _Watch] = {}

    def look(self, connections: Iterable[Any], now: float) -> list[Any]:
        """Those whose client has used up all patience."""
        seen, self._seen = self._seen, {}
        late = []
        for connection in list(connections):
            if not isinstance(connection, Protocol):
                continue
            watch = self._watch(connection, seen.get(connection), now)
            self._seen[connection] = watch
            if now - watch.since > getattr(self._patience, watch.phase):
                late.append(connection)
        return late

    def _watch(self, connection: Any, before: _Watch | None, now: float) -> _Watch:
        cycle = connection.cycle
        phase = _phase(cycle)
        received, unsent = connection.received, connection.transport.get_write_buffer_size()
        fresh = _Watch(cycle, phase, now, received, unsent)
        if before is None or before.cycle is not cycle or before.phase != phase:
            return fresh
        if phase == BODY:
            # While we do not read, it is not the client who is slow.
            moved = received - before.received >= self._patience.least
            return fresh if moved or connection.flow.read_paused else before
        if phase == REPLY:
            return fresh if unsent == 0 or unsent != before.unsent else before
        return before


def _phase(cycle: Any) -> str:
    if cycle is None:
        return HEAD
    if cycle.more_body:
        return BODY
    return HEAD if cycle.response_complete else REPLY


def end(connection: Any) -> None:
    """Say so, if nothing was said yet, and hang up."""
    cycle, transport = connection.cycle, connection.transport
    if transport.is_closing():
        return
    if cycle is None or cycle.response_complete or not cycle.response_started:
        transport.write(_TOO_SLOW)
        transport.close()
    else:
        sock = transport.get_extra_info("socket")
        if sock is not None:  # the kernel would hold what is unsent for minutes
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
