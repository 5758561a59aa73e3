"""Serves one small file under every path, as cheaply as Python can: the source of no-op builds.

    python -m tests.bench.source_server FD

FD is a listening socket that the bench has bound.
"""

import asyncio
import socket
import sys

_BODY = b"no source package at all\n"
_REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-rpm\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY


class _Connection(asyncio.Protocol):
    """Answers each request; a request has no body, so an empty line ends it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for _ in requests:
            self._transport.write(_REPLY)


async def _serve(fd: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, sock=socket.socket(fileno=fd))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
