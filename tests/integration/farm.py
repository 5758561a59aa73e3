"""A real daemon for tests: own directories, own port, stopped at the end whatever happens."""

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import redis
import urllib3

from tests import ports
from tests.conftest import wait_until
from tests.procs import cmdline, stat

_STARTS = itertools.count()
free_port = ports.free_port

#: %build of a package that waits until `Farm.let_go`.
WAIT = "echo BUILDING; until test -e /tmp/go; do sleep 0.05; done"
SPEC = """\
Name: {name}
Version: 1
Release: 1
Summary: test package
License: MIT
{tags}
%description
test
%prep
%build
{build}
%install
mkdir -p %{{buildroot}}/usr/share/{name}
echo hello > %{{buildroot}}/usr/share/{name}/file
%files
/usr/share/{name}
"""


def make_srpm(where: Path, name: str, build: str = "", tags: str = "BuildArch: noarch") -> Path:
    """A small source package; `build` is the shell text of its %build."""
    where.mkdir(parents=True, exist_ok=True)
    spec = where / f"{name}.spec"
    spec.write_text(SPEC.format(name=name, build=build, tags=tags))
    command = ["rpmbuild", "-bs", "--nodeps", "--define", f"_topdir {where}", str(spec)]
    subprocess.run(command, check=True, capture_output=True)
    return where / "SRPMS" / f"{name}-1-1.src.rpm"


class Farm:
    """`start`, use `api` and the daemon's pids, `stop`."""

    def __init__(self, top: Path, **options: str) -> None:
        self.top = top
        self.port = free_port()
        self.conf = top / "copr-be.conf"
        values = {
            "backend": {
                "destdir": f"{top}/results",
                "statedir": f"{top}/state",
                "rundir": f"{top}/run",
                "log_dir": f"{top}/log",
                "group0_max_workers": "2",
            },
            "web": {"port": str(self.port)},
        }
        for dotted, value in options.items():
            section, _, key = dotted.partition("__")
            values.setdefault(section, {})[key] = value
        parser = ConfigParser(interpolation=None)
        parser.read_dict(values)
        with self.conf.open("w") as file:
            parser.write(file)
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = urllib3.PoolManager(retries=False, timeout=120)
        self.process: subprocess.Popen[bytes] | None = None

    # --- the daemon -----------------------------------------------------------------------

    def start(self) -> "Farm":
        """Start the daemon and wait until it says that it is ready."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # Another farm's daemon may still tell its state: no name is used twice.
            address = f"\0copr-be-test-{os.getpid()}-{next(_STARTS)}"
            sock.bind(address)
            env = {**os.environ, "NOTIFY_SOCKET": "@" + address[1:]}
            command = [sys.executable, "-m", "backend.cli", "-c", str(self.conf)]
            with (self.top / "stderr").open("ab") as err:
                self.process = subprocess.Popen(command, env=env, stderr=err, stdout=err)
            ended = os.pidfd_open(self.process.pid)
            try:
                select.select([sock.fileno(), ended], [], [], 300)
                sock.setblocking(False)
                message = sock.recv(4096)
            except BlockingIOError:
                raise AssertionError(f"not ready: {self.stderr}") from None
            finally:
                os.close(ended)
            assert b"READY=1" in message, (message, self.stderr)
        return self

    @property
    def stderr(self) -> str:
        return (self.top / "stderr").read_text()

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def children(self, of: int | None = None) -> list[int]:
        """Pids of all descendants."""
        below: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, above, *_ = stat(int(entry.name))
                if state != "Z":
                    below.setdefault(int(above), []).append(int(entry.name))
        found = below.get(of or self.pid, [])
        for pid in found:
            found += below.get(pid, [])
        return found

    def titled(self, text: str) -> list[int]:
        """Pids of our own descendants (not of programs they run) whose title contains `text`.

        A child has the title of its parent until it has one of its own, or has become another
        program: that one is not meant.
        """
        found = []
        for pid in self.children():
            with contextlib.suppress(OSError):
                title = cmdline(pid)
                ours = title.startswith(b"copr-be: ") and text.encode() in title
                if ours and title != cmdline(int(stat(pid)[1])):
                    found.append(pid)
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(120)

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            left = self.children()
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.process.kill()
            self.process.wait()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    @property
    def redis(self) -> "redis.Redis":
        return redis.Redis(unix_socket_path=f"{self.top}/run/redis.sock", decode_responses=True)

    # --- the API --------------------------------------------------------------------------

    def api(self, method: str, path: str, body: object = None, **kwargs: Any) -> Any:
        """Call API v3 as the admin; asserts success."""
        parser = ConfigParser(interpolation=None)
        parser.read(self.top / "state" / "copr-cli.conf")
        login, token = (parser["copr-cli"][key] for key in ("login", "token"))
        headers = urllib3.make_headers(basic_auth=f"{login}:{token}")
        if body is not None:
            kwargs["body"] = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        reply = self.http.request(method, f"{self.url}/api_3/{path}", headers=headers, **kwargs)
        data = reply.json()
        assert reply.status == 200, data
        return data

    def create(self, project: str = "p") -> None:
        chroots = list(self.api("GET", "mock-chroots/list"))
        self.api("POST", "project/add/admin", {"name": project, "chroots": chroots})

    def submit(self, srpm: Path, project: str = "p") -> int:
        """Upload a source package; returns the build's id."""
        request = {"ownername": "admin", "projectname": project}
        fields = {
            "json": ("json", json.dumps(request), "application/json"),
            "pkgs": (srpm.name, srpm.read_bytes(), "application/x-rpm"),
        }
        return int(self.api("POST", "build/create/upload", fields=fields)["id"])

    def state(self, build: int) -> str:
        return str(self.api("GET", f"build/{build}")["state"])

    def wait(self, build: int, *states: str, seconds: float = 60) -> str:
        wanted = states or ("succeeded", "failed", "canceled", "skipped")
        wait_until(lambda: self.state(build) in wanted, seconds, f"build {build} {wanted}")
        return self.state(build)

    def let_go(self) -> None:
        """Builds that wait right now go on."""
        for slot in (self.top / "state" / "work").glob("*"):
            for place in (slot, *slot.glob("*")):
                with contextlib.suppress(OSError):  # it has not begun, or has ended
                    (place / "build/area/tmp/go").touch()

    def get(self, url: str) -> bytes:
        reply = self.http.request("GET", url)
        assert reply.status == 200, (url, reply.status)
        return reply.data


@contextlib.contextmanager
def running(**options: str) -> Iterator[Farm]:
    """A started farm in a short temporary directory (unix sockets allow 107 bytes)."""
    with tempfile.TemporaryDirectory(prefix="farm-", ignore_cleanup_errors=True) as top:
        farm = Farm(Path(top), **options)
        try:
            yield farm.start()
        finally:
            farm.close()
