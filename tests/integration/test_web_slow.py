"""Clients that take their time, and very large uploads, against a frontend of its own process."""

import contextlib
import json
import multiprocessing
import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.config import Config
from backend.web.patience import Patience
from backend.web.server import serve
from backend.web.setup import first_start
from tests.unit.test_web_lab import CHROOTS, PASSWORD, SRPM, make_config, token_of

GIB = 1024**3
#: What one request may add to the memory of the frontend, in bytes.
ROOM = 64 * 1024**2
QUICK = Patience(head=0.5, body=0.5, least=4096, reply=0.5)


def run(config: Config, sock: socket.socket, patience: Patience) -> None:
    serve(
        config,
        sock,
        password=PASSWORD,
        chroots=CHROOTS,
        wake=lambda _why, _tasks: None,
        patience=patience,
    )
    os._exit(0)


@contextlib.contextmanager
def frontend(root: Path, patience: Patience, **options: str) -> Iterator[tuple[Config, int]]:
    """Configuration and process id."""
    sock = socket.create_server(("127.0.0.1", 0))
    config = make_config(root, web__port=str(sock.getsockname()[1]), **options)
    first_start(config)
    process = multiprocessing.get_context("fork").Process(target=run, args=(config, sock, patience))
    process.start()
    sock.close()
    pid = process.pid or 0
    try:
        yield config, pid
    finally:
        os.kill(pid, signal.SIGTERM)
        process.join(100)
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    with frontend(tmp_path_factory.mktemp("quick"), QUICK) as (config, _):
        yield config


def talk(config: Config, *data: bytes) -> bytes:
    """Send the parts, the last one again and again, until the server hangs up; what it said."""
    said = b""
    with socket.create_connection(("127.0.0.1", config.web_port), 60) as sock:
        with contextlib.suppress(OSError):  # perhaps we were slow already
            for part in data[:-1]:
                sock.sendall(part)
        sock.settimeout(0.05)
        while True:
            with contextlib.suppress(OSError):  # it may have hung up
                sock.sendall(data[-1])
            try:
                part = sock.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                return said
            if not part:
                return said
            said += part


@pytest.mark.parametrize(
    "data",
    [
        (b"",),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-", b"a"),
        (
            b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\nlogin=",
            b"a",
        ),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX-", b"a"),
    ],
    ids=["nothing", "headers", "body", "second"],
)
def test_a_slow_client_is_left(quick: Config, data: tuple[bytes, ...]) -> None:
    assert b"HTTP/1.1 408 " in talk(quick, *data)


def test_a_client_that_reads_nothing_is_left(quick: Config) -> None:
    path = quick.destdir / "me/large"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(GIB)
    with socket.create_connection(("127.0.0.1", quick.web_port), 60) as sock:
        with contextlib.suppress(OSError):  # perhaps we were slow already
            sock.sendall(b"GET /results/me/large HTTP/1.1\r\nHost: x\r\n\r\n")
        poll = select.poll()
        poll.register(sock, 0)  # only the end of the connection is reported
        assert poll.poll(200_000)


def memory(pid: int) -> int:
    """The most that the process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def parts(size: int) -> Iterator[bytes]:
    """A form with a source package that is mostly zeros."""
    fields = json.dumps({"ownername": "admin", "projectname": "hello"})
    yield (
        b'--x\r\nContent-Disposition: form-data; name="json"; filename="json"\r\n'
        b"Content-Type: application/json\r\n\r\n" + fields.encode() + b"\r\n--x\r\n"
        b'Content-Disposition: form-data; name="pkgs"; filename="big-1-1.src.rpm"\r\n\r\n' + SRPM
    )
    chunk = bytes(1024**2)
    for _ in range(size // len(chunk)):
        yield chunk
    yield b"\r\n--x--\r\n"


def upload(config: Config, size: int) -> httpx.Response:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return httpx.post(
        f"{config.listen_url}/api_3/build/create/upload",
        content=parts(size),
        headers=headers,
        auth=token_of(config),
        timeout=100,
    )


def test_uploads_take_no_memory_and_too_large_ones_are_refused(tmp_path: Path) -> None:
    size, limit = 3 * GIB, 512 * 1024**2
    with frontend(tmp_path, Patience(), web__max_upload=str(limit)) as (config, pid):
        body: dict[str, Any] = {"name": "hello"}
        made = httpx.post(
            f"{config.listen_url}/api_3/project/add/admin",
            json=body,
            auth=token_of(config),
            timeout=100,
        )
        assert made.status_code == 200
        before = memory(pid)
        good = upload(config, 128 * 1024**2)
        assert good.status_code == 200, good.text
        (kept,) = (config.statedir / "uploads").glob("*/*.src.rpm")
        assert kept.stat().st_size == 128 * 1024**2 + len(SRPM)
        refused = upload(config, size)
        assert refused.status_code == 413
        assert f"limit of {limit} bytes (web.max_upload)" in refused.json()["error"]
        assert len(list((config.statedir / "uploads").iterdir())) == 1
        assert memory(pid) - before < ROOM
