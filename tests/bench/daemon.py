"""A real daemon to be measured, in directories of its own, and a client that costs little."""

import base64
import contextlib
import http.client
import json
import os
import secrets
import select
import socket
import sqlite3
import sys
import time
from configparser import ConfigParser
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from backend.constants import FINISHED, Status
from backend.process import CLEAN_ENV, Child
from tests.bench import note, proc
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
NOOP = "tests.bench.noop:NoopBuilder"


def environment(**more: str) -> dict[str, str]:
    """The environment of every program that the bench starts."""
    return {**CLEAN_ENV, "PYTHONPATH": str(ROOT), "SPT_NOENV": "1", **more}


class Daemon:
    """A context manager: started on entry, `ready_after` seconds later ready, ended on exit."""

    def __init__(
        self,
        top: Path,
        *,
        workers: int,
        builder: str = "rpmbuild",
        redis_url: str = "",
        board: note.Board | None = None,
    ) -> None:
        top.mkdir()
        self._top = top
        self.conf = top / "copr-be.conf"
        self.port = free_port()
        self.workers = workers
        self.ready_after = 0.0
        self._env = environment(**({note.VARIABLE: str(board.path)} if board else {}))
        parser = ConfigParser(interpolation=None)
        parser.read_dict(
            {
                "backend": {
                    "destdir": f"{top}/results",
                    "statedir": f"{top}/state",
                    "rundir": f"{top}/run",
                    "log_dir": f"{top}/log",
                    "max_workers": str(workers),
                    "redis_url": redis_url,
                },
                "builder": {"type": builder},
                "web": {"port": str(self.port)},
            }
        )
        with self.conf.open("w") as file:
            parser.write(file)

    def __enter__(self) -> Self:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            address = f"copr-bench-{secrets.token_hex(8)}"
            sock.bind("\0" + address)
            sock.settimeout(1)
            env = {**self._env, "NOTIFY_SOCKET": "@" + address}
            argv = [sys.executable, "-m", "backend.cli", "-c", str(self.conf)]
            begin = time.monotonic()
            with self._stderr.open("ab") as out:
                self._child = Child(argv, stdout=out, env=env, cwd=ROOT)
            try:
                self._await_ready(sock, begin + 120)
            except BaseException:
                self._child.close()
                raise
            self.ready_after = time.monotonic() - begin
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.stop(20)
        self._child.close()

    @property
    def _stderr(self) -> Path:
        return self._top / "stderr"

    def _await_ready(self, sock: socket.socket, deadline: float) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in sock.recv(4096):
                    return
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the daemon did not start: {self._stderr.read_text()}")

    # --- its processes --------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The master."""
        return self._child.pid

    def idle_workers(self) -> list[int]:
        """Workers that wait for a task."""
        titles = {pid: proc.title(pid) for pid in proc.family(self.pid)}
        return [p for p, t in titles.items() if t.startswith("copr-be: worker ") and "idle" in t]

    # --- its frontend ---------------------------------------------------------------------

    def client(self) -> "Client":
        """A client of its API, as the admin."""
        parser = ConfigParser(interpolation=None)
        parser.read(self._top / "state" / "copr-cli.conf")
        section = parser["copr-cli"]
        return Client(self.port, f"{section['login']}:{section['token']}")

    def database(self) -> "Database":
        """What its frontend has committed."""
        return Database(self._top / "state" / "frontend.sqlite")


class Client:
    """One kept-alive connection to API v3; `http.client`, for it uses the least CPU."""

    def __init__(self, port: int, login: str) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        code = base64.b64encode(login.encode()).decode()
        self._headers = {"Authorization": f"Basic {code}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request; RuntimeError unless the answer is 200."""
        data = None if body is None else json.dumps(body).encode()
        return self._send(method, path, data, self._headers)

    def _send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> Any:
        if self._http.sock and select.select([self._http.sock], [], [], 0)[0]:
            self._http.close()  # the server has ended an idle connection; the next one opens
        self._http.request(method, f"/api_3/{path}", body=data, headers=headers)
        reply = self._http.getresponse()
        text = reply.read()
        if reply.status != 200:
            raise RuntimeError(f"{method} {path}: {reply.status} {text[:300]!r}")
        return json.loads(text)

    def create(self, project: str) -> None:
        """A project with every chroot that the farm has."""
        chroots = list(self.call("GET", "mock-chroots/list"))
        self.call("POST", "project/add/admin", {"name": project, "chroots": chroots})

    def submit_urls(self, project: str, urls: list[str]) -> list[int]:
        """One build for each URL."""
        body = {"ownername": "admin", "projectname": project, "pkgs": urls}
        return [int(item["id"]) for item in self.call("POST", "build/create/url", body)["items"]]

    def submit_file(self, project: str, srpm: Path) -> int:
        """Upload a source package, as copr-cli does."""
        border = secrets.token_hex(16)
        request = json.dumps({"ownername": "admin", "projectname": project})
        parts = (
            f'--{border}\r\nContent-Disposition: form-data; name="json"; filename="json"\r\n'
            f"Content-Type: application/json\r\n\r\n{request}\r\n"
            f'--{border}\r\nContent-Disposition: form-data; name="pkgs"; filename="{srpm.name}"\r\n'
            "Content-Type: application/x-rpm\r\n\r\n"
        )
        data = parts.encode() + srpm.read_bytes() + f"\r\n--{border}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={border}"}
        return int(self._send("POST", "build/create/upload", data, {**self._headers, **kind})["id"])

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class Database:
    """The frontend's own record, read beside it: counting over HTTP would cost what we measure."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)

    def finished(self) -> int:
        """Builds of which no task is unfinished any more; RuntimeError if one did not succeed."""
        ended = ",".join(str(int(status)) for status in FINISHED)
        good = int(Status.SUCCEEDED)
        row = self._db.execute(
            f"SELECT count(*) FROM build WHERE source_status != ? AND source_status IN ({ended})",
            (good,),
        ).fetchone()
        bad = self._db.execute(
            f"SELECT count(*) FROM build_chroot WHERE status != ? AND status IN ({ended})", (good,)
        ).fetchone()
        if row[0] + bad[0]:
            raise RuntimeError(f"{row[0]} source builds and {bad[0]} RPM builds did not succeed")
        count: int = self._db.execute(
            "SELECT count(*) FROM build_chroot WHERE status = ?", (good,)
        ).fetchone()[0]
        return count

    def close(self) -> None:
        """Close it."""
        self._db.close()


def await_cpu_quiet(pid: int, *, share: float = 0.05, limit: float = 30) -> None:
    """Return once a process and its descendants use less than `share` of a core."""
    deadline = time.monotonic() + limit
    before = proc.cpu(proc.family(pid))
    while time.monotonic() < deadline:
        pause(0.5)
        now = proc.cpu(proc.family(pid))
        if sum(now.values()) - sum(before.get(p, 0.0) for p in now) < 0.5 * share:
            return
        before = now


def pause(seconds: float) -> None:
    """Let a measured interval pass."""
    select.select([], [], [], seconds)


def load() -> float:
    """The machine's load average of the last minute: what else runs blurs every figure."""
    return os.getloadavg()[0]
