"""Between backend and frontend: forwards, breaks what it is told to break, and keeps count."""

import asyncio
import contextlib
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

FINAL = (0, 1)
#: What can go wrong with one request; `-after`: the frontend has done it, nobody learns of it.
FAULTS = (
    "answer-500", "html-502", "drop-before", "drop-after", "hang-before", "hang-after", "cut-answer"
)  # fmt: skip


@dataclass
class Rule:
    """Breaks requests whose path contains `path`, with this probability, `left` times."""

    path: str
    fault: str
    chance: float = 1.0
    left: int = 1_000_000


@dataclass
class Request:
    """One request, whole, and the path in it."""

    raw: bytes
    path: str
    body: bytes


@dataclass
class Proxy:
    """`start`, set `rules`, read `terminal`: task id → final reports that the frontend took."""

    port: int
    upstream: int
    seed: int
    rules: list[Rule] = field(default_factory=list)
    terminal: dict[str, list[int]] = field(default_factory=dict)
    #: Final reports whose fate is unknown: the frontend died over them.
    unsure: list[str] = field(default_factory=list)
    #: Called with (moment, path), e.g. ("accepted", "/backend/update/"); may kill somebody.
    hook: Callable[[str, str], None] = lambda *_: None
    broken: dict[str, int] = field(default_factory=dict)
    _ready: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    #: The event loop itself forgets tasks that wait.
    _tasks: "set[asyncio.Task[None] | None]" = field(default_factory=set)

    def start(self) -> None:
        """Serve from a thread of its own."""
        self._random = random.Random(self.seed)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        """End, cutting every connection."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=1 << 24)
        self._ready.set()
        await self._end.wait()
        server.close()

    def _fault(self, path: str) -> str:
        for rule in self.rules:
            if rule.path in path and rule.left > 0 and self._random.random() < rule.chance:
                rule.left -= 1
                self.broken[rule.fault] = self.broken.get(rule.fault, 0) + 1
                return rule.fault
        return ""

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
                while request := await _read(reader):
                    if not await self._handle(request, reader, writer):
                        break
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _handle(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """True when the connection may be used again."""
        fault = self._fault(request.path)
        self.hook("asked", request.path)
        if fault in ("answer-500", "html-502"):
            code = "500 Oops" if fault == "answer-500" else "502 Bad Gateway"
            body = b"<html>no</html>"
            head = f"HTTP/1.1 {code}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"
            writer.write(head.encode() + b"\r\n" + body)
            await writer.drain()
            return True
        if fault == "drop-before":
            return False
        if fault == "hang-before":
            await reader.read()  # until the client gives up
            return False
        answer = await self._forward(request)
        self.hook("accepted", request.path)
        if fault == "hang-after":
            await reader.read()
        if fault in ("drop-after", "hang-after") or not answer:
            return False
        if fault == "cut-answer":
            writer.write(answer[: len(answer) // 2])
            await writer.drain()
            return False
        writer.write(answer)
        await writer.drain()
        return False

    async def _forward(self, request: Request) -> bytes:
        answer = b""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            writer.write(request.raw)
            await writer.drain()
            answer = await reader.read()
            writer.close()
        except OSError:
            pass
        self._count(request, answer)
        return answer

    def _count(self, request: Request, answer: bytes) -> None:
        if "/backend/update" not in request.path:
            return
        status = answer.split(b" ", 2)[1:2]
        for build in json.loads(request.body).get("builds", []):
            if build.get("status") in FINAL:
                if status == [b"200"]:
                    self.terminal.setdefault(build["task_id"], []).append(build["status"])
                elif not answer:
                    self.unsure.append(build["task_id"])


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    kept = [line for line in lines[:-2] if not line.lower().startswith("connection:")]
    raw = "\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1") + body
    return Request(raw, lines[0].split(" ")[1], body)
