"""The real copr-cli against the embedded frontend in a process of its own."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.integration.coprcli import CLI, Server, running
from tests.unit.test_web_lab import CHROOTS, SRPM

FEDORA, DEBIAN = CHROOTS
pytestmark = pytest.mark.coprcli


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        yield server


def test_copr_cli_from_create_to_delete(server: Server, tmp_path: Path) -> None:
    package = tmp_path / "hello-2.8-1.src.rpm"
    package.write_bytes(SRPM)
    assert FEDORA in server.cli("list-chroots")
    assert "admin" in server.cli("whoami")
    server.cli("create", "hello", "--chroot", FEDORA, "--chroot", DEBIAN)
    assert "already have a project" in server.cli("create", "hello", "--chroot", FEDORA, code=1)
    assert "hello" in server.cli("list")
    assert "Created builds: 1" in server.cli("build", "--nowait", "hello", str(package))
    assert "pending" in server.cli("status", "1")
    server.build(1, 1)
    assert "succeeded" in server.cli("status", "1")
    assert "succeeded" in server.cli("watch-build", "1")
    server.cli("build", "--nowait", "hello", "http://x/a.src.rpm", "http://x/b.src.rpm")
    server.build(2, 0)
    assert "failed" in server.cli("watch-build", "2", code=4)
    assert "canceled" in server.cli("cancel", "3")
    assert "canceled" in server.cli("watch-build", "3", code=4)
    assert "Cannot cancel build 3" in server.cli("cancel", "3", code=1)
    assert server.http.get("/backend/build-tasks/cancel-requests/").json() == ["3"]
    assert server.post("build-tasks/canceled/3", True) == "success"
    listed = server.cli("list-builds", "hello")
    assert re.findall(r"^(\d+)\s", listed, re.MULTILINE) == ["1", "2", "3"]
    assert FEDORA in server.cli("monitor", "hello")
    assert "hello" in server.cli("list-packages", "hello")
    assert FEDORA in server.cli("get-chroot", f"hello/{FEDORA}")
    server.cli("download-build", "1", "--dest", str(tmp_path / "got"))
    got = sorted((tmp_path / "got").rglob("*.rpm"))
    assert [path.read_bytes() for path in got] == [b"rpm of " + c.encode() for c in sorted(CHROOTS)]
    # Each by a thread of its own, which may come later than the answer.
    wait_until(lambda: wakes(server) == ["cancel"] + ["new"] * 5, what="all wakes")
    server.cli("modify", "hello", "--description", "words", "--chroot", FEDORA)
    server.cli("delete-build", "2")
    assert "does not exist" in server.cli("status", "2", code=1)
    server.cli("delete", "hello")
    assert not (server.config.destdir / "admin/hello").exists()


def wakes(server: Server) -> list[str]:
    return sorted(why for why in server.wakes.read_text().split() if why != "action")


def test_copr_cli_shows_refusals_in_one_line(server: Server, tmp_path: Path) -> None:
    fake = tmp_path / "fake-1.src.rpm"
    fake.write_bytes(b"no rpm at all")
    server.cli("create", "hello", "--chroot", FEDORA)
    assert "fake-1.src.rpm is no RPM" in server.cli("build", "--nowait", "hello", str(fake), code=1)
    typo = server.cli("create", "other", "--chroot", "fedora-42-x86_64", code=1)
    assert "perhaps 'fedora-41-x86_64'?" in typo
    missing = server.cli("build", "--nowait", "nothing", "http://x/a.src.rpm", code=1)
    assert "Project admin/nothing does not exist." in missing
    config = server.config.web_cli_config
    config.write_text(config.read_text().replace("token = ", "token = x"))
    assert "Login invalid/expired" in server.cli("create", "x", "--chroot", FEDORA, code=1)


def test_stop_waits_for_no_open_connection(server: Server) -> None:
    path = server.config.destdir / "big.log"
    with path.open("wb") as file:
        file.truncate(64 * 1024**2)
    address = ("127.0.0.1", server.config.web_port)
    with closing(socket.create_connection(address)) as reader:
        reader.sendall(b"GET /results/big.log HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reader.recv(100).startswith(b"HTTP/1.1 200")  # and reads no further
        assert server.process.pid
        os.kill(server.process.pid, signal.SIGTERM)
        wait_until(lambda: not server.process.is_alive(), 5)
    assert server.process.exitcode == 0


def test_concurrent_submits_all_arrive(server: Server) -> None:
    server.cli("create", "hello", "--chroot", FEDORA)
    body = "ownername=admin&projectname=hello"
    command = [str(CLI), "--config", str(server.config.web_cli_config), "build", "--nowait"]
    clients = [
        subprocess.Popen([*command, "hello", f"http://x/{n}.src.rpm"], stdout=subprocess.DEVNULL)
        for n in range(6)
    ]
    assert [process.wait(200) for process in clients] == [0] * 6
    items = server.http.get(f"/api_3/build/list?{body}").json()["items"]
    assert sorted(item["id"] for item in items) == [1, 2, 3, 4, 5, 6]
