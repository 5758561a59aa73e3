"""The recorded frontend on a real port, with the odd answers of the real one on request."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.frontend.model import Model
from tests.frontend.values import Broken
from tests.serving import served

PASSWORD = "1234"
READERS = (
    *("pending-jobs", "pending-actions", "action", "importing"),
    *("get-build-task", "get-srpm-build-task"),
)
HTML = b"<!doctype html>\n<html><head><title>Copr Build System</title></head></html>\n"


@dataclass
class Fault:
    """Requests whose path holds `path` go wrong: `times` of them, then no more.

    `answer` gets the handler and does what it likes; `after` lets the request take effect
    first, so that only its answer is lost.
    """

    path: str
    answer: Callable[["Handler"], None]
    times: int = 1
    after: bool = False


def status(code: int) -> Callable[["Handler"], None]:
    return lambda handler: handler.reply(code, HTML, "text/html; charset=utf-8")


def body(content: bytes, **headers: str) -> Callable[["Handler"], None]:
    return lambda handler: handler.reply(200, content, "application/json", **headers)


def hang_up(handler: "Handler") -> None:
    handler.close_connection = True


def silence(seconds: float) -> Callable[["Handler"], None]:
    """No answer for so long, then the connection ends."""

    def answer(handler: "Handler") -> None:
        threading.Event().wait(seconds)
        handler.close_connection = True

    return answer


class RecordedFrontend(ThreadingHTTPServer):
    """`model` is its database; `files` are served below /files/, a dist-git below /git/."""

    daemon_threads = True

    def __init__(self, files: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files = files
        self.model = Model(results=f"{self.url}/files/results", git=f"{self.url}/files/git")
        self.lock = threading.RLock()
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str, Any]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle is no news."""

    def take_fault(self, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.path in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    server: RecordedFrontend
    protocol_version = "HTTP/1.1"
    muted = False

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, code: int, content: bytes, kind: str, version: str = "9") -> None:
        if self.muted:
            return
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if version and self.path.startswith("/backend/"):
            self.send_header("Copr-FE-BE-API-Version", version)
        self.end_headers()
        self.wfile.write(content)

    def json(self, value: Any, code: int = 200, kind: str = "application/json") -> None:
        self.reply(code, json.dumps(value).encode() + b"\n", kind)

    def _serve(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        fault = self.server.take_fault(path) if path.startswith("/backend/") else None
        if fault and not fault.after:
            fault.answer(self)
            return
        self.muted = bool(fault)
        try:
            if path.startswith("/files/"):
                self._file(path.removeprefix("/files/"))
            elif path.startswith("/backend/"):
                self._backend(path.removeprefix("/backend/").strip("/"), data)
            else:
                self._file("pages" + path.rstrip("/"))
        except (Broken, KeyError, TypeError, ValueError, AttributeError):
            self.reply(500, HTML, "text/html; charset=utf-8")
        if fault:
            self.muted = False
            fault.answer(self)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815

    def _file(self, name: str) -> None:
        path = self.server.files / unquote(name)
        if path.is_dir():
            self.reply(
                200,
                "\n".join(sorted(p.name for p in path.iterdir())).encode(),
                "text/html; charset=utf-8",
            )
        elif path.is_file():
            self.reply(200, path.read_bytes(), "application/octet-stream")
        else:
            self.reply(404, HTML, "text/html; charset=utf-8")

    def _backend(self, path: str, data: bytes) -> None:
        write = self.command in ("POST", "PUT")
        name, _, rest = path.partition("/")
        writers = {"update", "starting_build", "reschedule_build_chroot", "import-completed"}
        writer = name in writers or path.startswith("build-tasks/canceled")
        if write and not writer and name not in READERS:
            self.reply(404, HTML, "text/html; charset=utf-8", version="")
        elif writer != write:
            self.reply(405, HTML, "text/html; charset=utf-8")
        elif write and not self._allowed():
            self.reply(
                401, b"You have to provide the correct password\n", "text/html; charset=utf-8"
            )
        elif write and self.headers.get("Content-Type") != "application/json":
            self.reply(415, HTML, "text/html; charset=utf-8")
        else:
            with self.server.lock:
                sent = json.loads(data) if write and data else None
                self.server.seen.append((self.command, path, sent))
                self._write(name, rest, sent) if write else self._read(name, rest)

    def _allowed(self) -> bool:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        return scheme == "Basic" and base64.b64decode(value).decode().endswith(f":{PASSWORD}")

    def _read(self, name: str, rest: str) -> None:
        model = self.server.model
        missing = {"msg": "Specified task ID not found"}
        if name == "pending-jobs":
            self.json(model.pending_jobs())
        elif name == "pending-actions":
            self.json(model.pending_actions(), kind="text/html; charset=utf-8")
        elif name == "pending-action-count":
            self.json(len(model.pending_actions()))
        elif name == "action":
            self.json(model.action(int(rest)))
        elif name == "importing":
            self.json(model.importing())
        elif name == "get-srpm-build-task":
            task = model.source_task(int(rest))
            self.json(task or missing, 200 if task else 404)
        elif name == "get-build-task":
            try:
                self.json(model.rpm_task(rest))
            except KeyError:
                self.json(missing, 404)
        elif (name, rest) == ("build-tasks", "cancel-requests"):
            self.json(model.cancels)
        else:
            self.reply(404, HTML, "text/html; charset=utf-8", version="")

    def _write(self, name: str, rest: str, sent: Any) -> None:
        model = self.server.model
        if name == "starting_build":
            self.json({"can_start": model.starting(sent)})
        elif name == "update":
            self.json(model.update(sent))
        elif name == "reschedule_build_chroot":
            self.json(model.reschedule(sent))
        elif name == "import-completed":
            self.json({"updated": model.import_completed(sent)})
        else:
            model.acknowledge(rest.removeprefix("canceled/"))
            self.json("success")


@contextmanager
def recorded(files: Path) -> Iterator[RecordedFrontend]:
    """A running one; `files` is served below /files/."""
    with served(RecordedFrontend(files)) as server:
        yield server
