"""The embedded frontend in a process of its own, its backend (the test), and the real copr-cli."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.config import Config
from backend.web.server import serve
from backend.web.setup import first_start
from tests.unit.test_web_lab import CHROOTS, PASSWORD, make_config

CLI = Path(sys.executable).with_name("copr-cli")


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


@contextmanager
def running(root: Path) -> Iterator[Server]:
    """One, until the block is left; the test is skipped where there is no copr-cli."""
    if not CLI.exists():
        pytest.skip(f"{CLI} is not installed")
    server = Server(root)
    try:
        yield server
    finally:
        server.stop()
