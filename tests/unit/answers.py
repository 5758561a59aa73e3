"""A server of HTTP that answers as it is told."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    status = 200
    body = b"[]"
    version = "9"
    connections = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, str, bytes]] = []

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        seen = (self.command, self.path, self.headers.get("Authorization", ""))
        self.server.seen.append((*seen, self.rfile.read(length)))
        self.send_response(self.server.status)
        if self.server.version:
            self.send_header("Copr-FE-BE-API-Version", self.server.version)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_POST = _answer  # noqa: N815
