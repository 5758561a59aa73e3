"""Clients that mean harm, against a real daemon: refused or harmless, and the others go on."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.farm import Farm, running

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with running() as made:
        made.create("p")
        yield made


def raw(farm: Farm, data: bytes) -> bytes:
    """What the server says to these very bytes."""
    with socket.create_connection(("127.0.0.1", farm.port), 100) as sock:
        sock.sendall(data)
        answer = b""
        with contextlib.suppress(OSError):
            while part := sock.recv(65536):
                answer += part
        return answer


PATHS = (
    "/results/../state/frontend.sqlite",
    "/results/%2e%2e/state/frontend.sqlite",
    "/results/..%2fstate%2ffrontend.sqlite",
    "/results//etc/passwd",
    "/results/admin/p/link",
    "/results/admin/p/linked/passwd",
    "/static/../pages.py",
    "/static/%2e%2e/pages.py",
    "/static/..%2fpages.py",
    "/tmp/../x/y.src.rpm",
    "/coprs/build/1/log/..%2f..%2f..%2fetc",
    "/coprs/build/99999999999999999999999/log/x",
    "/coprs/build/1/follow/..",
    "/coprs/admin/p/repo/..%2f..%2fx/",
    "/coprs/%00/%00/",
)


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(farm: Farm, path: str) -> None:
    project = farm.top / "results" / "admin" / "p"
    project.mkdir(parents=True, exist_ok=True)
    for name, target in (("link", "/etc/passwd"), ("linked", "/etc")):
        if not (project / name).is_symlink():
            (project / name).symlink_to(target)
    answer = raw(farm, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ", 2)[1] in (b"400", b"404"), answer[:300]
    assert b"root:" not in answer
    assert b"SQLite format" not in answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: copr_session=\xff\xfe.\xff.\xff\r\n"
        b"Connection: close\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n\xff&",
        b"GET /search?q=%00%ff%27%22 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_broken_requests_are_no_crash(farm: Farm, data: bytes) -> None:
    answer = raw(farm, data)
    assert b" 500 " not in answer[:20]
    assert farm.get(f"{farm.url}/healthz") == b'{"status":"ok"}'


def test_five_hundred_slow_clients_hold_nobody_up(farm: Farm) -> None:
    web = farm.titled("web")
    slow = []
    try:
        for number in range(500):
            sock = socket.create_connection(("127.0.0.1", farm.port), 100)
            slow.append(sock)
            if number % 2:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-")
            else:
                sock.sendall(
                    b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n"
                    b"Content-Type: application/x-www-form-urlencoded\r\n\r\nlogin=a"
                )
        for path in ("/", "/coprs/admin/p/", "/metrics", "/api_3/project/list"):
            farm.get(farm.url + path)
        assert len(list(Path(f"/proc/{web[0]}/fd").iterdir())) > 500
    finally:
        for sock in slow:
            sock.close()
    assert farm.titled("web") == web


def test_five_hundred_requests_at_once_are_all_answered(farm: Farm) -> None:
    socks = [socket.create_connection(("127.0.0.1", farm.port), 100) for _ in range(500)]
    try:
        for sock in socks:
            sock.sendall(b"GET /workers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for sock in socks:
            sock.settimeout(200)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    finally:
        for sock in socks:
            sock.close()
