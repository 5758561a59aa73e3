"""A receiver of webhooks beside a frontend, and the process that tells it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backend.spool import Spool
from backend.webhook import Sender, Target

SECRET = "s3cr3t-key"
DAY = 86400.0


class Peer(ThreadingHTTPServer):
    """Frontend and receiver in one: `builds` are answered, `got` is what the hook was told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.builds: dict[int, dict[str, Any]] = {}
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.hook_status = 200
        self.api_status = 200
        self.asked = 0
        self.gate: threading.Event | None = None

    def build(self, number: int, state: str, *chroots: str) -> None:
        self.builds[number] = {"state": state, "chroots": chroots or (state,)}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def deliveries(self) -> list[str]:
        return [fields["X-Copr-Delivery"] for fields, _ in self.got]


class Handler(BaseHTTPRequestHandler):
    server: Peer

    def _answer(self, status: int, document: Any = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.url + "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        peer = self.server
        peer.asked += 1
        number = int(self.path.rpartition("/")[2].rpartition("=")[2])
        found = peer.builds.get(number)
        if found is None or peer.api_status != 200:
            self._answer(404 if found is None else peer.api_status)
        elif "build-chroot" in self.path:
            items = [{"name": f"c{n}", "state": s} for n, s in enumerate(found["chroots"])]
            self._answer(200, {"items": items})
        else:
            source = {"name": "hello", "version": "1-1"}
            names = {"ownername": "me", "projectname": "p", "source_package": source}
            self._answer(200, {"id": number, "state": found["state"], **names})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.gate:
            self.server.gate.wait(100)
        self.server.got.append((dict(self.headers.items()), body))
        self._answer(self.server.hook_status)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (given name)
        pass


class Bench:
    """A sender whose clock only moves when told to."""

    def __init__(self, top: Path, peer: Peer) -> None:
        self.path = top / "webhook.sqlite"
        self.now = 1000.0
        self.said: list[tuple[str, str, str]] = []
        self.target = Target(
            url=peer.url + "/hook/token",
            secret=SECRET,
            timeout=60,
            give_up=3 * DAY,
            frontend=peer.url,
            public="https://copr.example.org",
        )
        self.start()

    def start(self) -> None:
        self.spool = Spool(self.path)
        self.sender = Sender(self.target, self.spool, lambda *said: self.said.append(said))

    def restart(self) -> None:
        """What a kill and a new process come to."""
        self.sender.close()
        self.start()

    def note(self, *builds: int) -> None:
        self.spool.note(builds, self.now)

    def settle(self) -> float:
        """Everything that is due now; returns when more will be."""
        for _ in range(200):
            wait = self.sender.once(self.now)
            if wait > 0:
                return wait
        raise AssertionError("always something due")

    def kinds(self) -> list[str]:
        return [kind for _, _, kind in self.said]


@contextmanager
def running(top: Path, peer: Peer) -> Iterator[Bench]:
    """A bench whose sender is closed in the end."""
    found = Bench(top, peer)
    try:
        yield found
    finally:
        found.sender.close()
