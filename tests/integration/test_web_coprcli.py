"""The real copr-cli against the embedded frontend in a process of its own."""

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.config import Config
from backend.web.server import serve
from backend.web.setup import first_start
from tests.conftest import wait_until
from tests.unit.test_web_lab import CHROOTS, PASSWORD, SRPM, make_config

FEDORA, DEBIAN = CHROOTS
CLI = Path(sys.executable).with_name("copr-cli")
pytestmark = pytest.mark.coprcli


def run_server(config: Config, sock: socket.socket, wakes: Path) -> None:
    def wake(reason: str, _tasks: object) -> None:
        with wakes.open("a") as file:
            file.write(f"{reason}\n")

    serve(config, sock, password=PASSWORD, chroots=CHROOTS, wake=wake)
    os._exit(0)


class Server:
    """The frontend's process, its backend (this test), and copr-cli."""

    def __init__(self, root: Path) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        self.config = make_config(root, web__port=str(sock.getsockname()[1]))
        first_start(self.config)
        self.wakes = root / "wakes"
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=run_server, args=(self.config, sock, self.wakes))
        self.process.start()
        sock.close()
        self.http = httpx.Client(base_url=self.config.listen_url, timeout=120)

    def stop(self) -> None:
        self.http.close()
        if self.process.pid and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGTERM)
        self.process.join(60)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()

    def cli(self, *arguments: str, code: int = 0, answer: str = "") -> str:
        command = [str(CLI), "--config", str(self.config.web_cli_config), *arguments]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=200, input=answer
        )
        assert done.returncode == code, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def post(self, path: str, body: object) -> Any:
        reply = self.http.post(f"/backend/{path}/", json=body, auth=("user", PASSWORD))
        assert reply.status_code == 200, reply.text
        return reply.json()

    def report(self, build: int, chroot: str | None, status: int, **values: Any) -> None:
        record = {
            "id": build,
            "task_id": f"{build}-{chroot}" if chroot else str(build),
            "chroot": chroot or "srpm-builds",
            "result_dir": f"{build:08d}-hello" if chroot else f"{build:08d}",
            "status": status,
        }
        self.post("update", {"builds": [record | values]})

    def build(self, number: int, status: int) -> None:
        """Play the backend: source build, then both chroots."""
        facts = {"pkg_name": "hello", "pkg_version": "2.8-1", "srpm_url": "http://x/h.src.rpm"}
        self.report(number, None, 1, **facts)
        for chroot in CHROOTS:
            place = self.config.destdir / f"admin/hello/{chroot}/{number:08d}-hello"
            place.mkdir(parents=True)
            (place / "hello-2.8-1.noarch.rpm").write_bytes(b"rpm of " + chroot.encode())
            (place / "success").write_text("done\n")
            self.report(number, chroot, status)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if not CLI.exists():
        pytest.skip(f"{CLI} is not installed")
    server = Server(tmp_path)
    try:
        yield server
    finally:
        server.stop()


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
    running = [
        subprocess.Popen([*command, "hello", f"http://x/{n}.src.rpm"], stdout=subprocess.DEVNULL)
        for n in range(6)
    ]
    assert [process.wait(200) for process in running] == [0] * 6
    items = server.http.get(f"/api_3/build/list?{body}").json()["items"]
    assert sorted(item["id"] for item in items) == [1, 2, 3, 4, 5, 6]
