"""The place of one chaos run: directories, disk, Redis, frontend, proxy, and the daemon.

`Arena` starts the daemon again whenever it ends, as systemd would, until told to stop.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path

import redis

from backend.builders.rpmbuild import RpmbuildBuilder
from backend.config import load
from tests.chaos import procs
from tests.chaos.procs import Proc
from tests.chaos.proxy import Proxy
from tests.ports import free_port

#: embedded: everything by the master. proxy: a frontend of its own behind the fault proxy.
#: external: the same, with a Redis of its own that is killed and restarted from its AOF.
MODES = ("embedded", "proxy", "external")
PASSWORD = "chaos-password"
DISK, FILES = "900m", 200_000


class Arena:
    """Start with `start`, end with `finish`, remove with `close`; `log` says what happened."""

    def __init__(self, top: Path, seed: int, mode: str, log: Callable[[str], None]) -> None:
        self.top, self.seed, self.mode, self.log = top, seed, mode, log
        self.disk = top / "disk"
        self.destdir, self.statedir = self.disk / "results", self.disk / "state"
        self.web_port, self.redis_port = free_port(), free_port()
        self.uid = 200_000 + self.web_port * procs.UIDS
        self.workers = 3
        self.sign = False
        self.env = {**os.environ, procs.MARK: str(top), "PYTHONPATH": str(Path.cwd())}
        self.proxy = Proxy(free_port(), self.web_port, seed)
        self.mounted = False
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._keepers: list[threading.Thread] = []
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.exits: list[str] = []
        self.held: set[str] = set()
        self.listener = socket.create_server(("127.0.0.1", self.web_port), backlog=2048)

    # --- making ---------------------------------------------------------------------------

    @property
    def embedded(self) -> bool:
        return self.mode == "embedded"

    @property
    def redis_url(self) -> str:
        if self.mode == "external":
            return f"redis://127.0.0.1:{self.redis_port}/0"
        return f"unix://{self.top}/run/redis.sock"

    @property
    def redis(self) -> "redis.Redis":
        return redis.Redis.from_url(self.redis_url, decode_responses=True, socket_timeout=5)

    def configure(self, workers: int, broken: bool = False) -> None:
        """Write the daemon's configuration (`broken`: one that must be refused)."""
        self.workers = workers
        common = {
            "destdir": str(self.destdir), "rundir": f"{self.top}/run", "log_dir": f"{self.top}/log",
            "sleeptime": "2", "results_baseurl": f"http://127.0.0.1:{self.web_port}/results",
        }  # fmt: skip
        daemon = common | {"statedir": str(self.statedir), "group0_max_workers": str(workers)}
        if not self.embedded:
            daemon |= {"frontend_base_url": f"http://127.0.0.1:{self.proxy.port}"}
            daemon |= {"frontend_auth": PASSWORD}
        if self.mode == "external":
            daemon |= {"redis_url": self.redis_url}
        if broken:
            daemon |= {"group0_max_workers": "many"}
        builder = {"uid": str(self.uid), "timeout": "120", "stall_timeout": "60"}
        signing = {"backend": "gpg" if self.sign else "off", "key_type": "ed25519"}
        self._write("copr-be.conf", {"backend": daemon, "builder": builder, "signing": signing})
        web = common | {"statedir": f"{self.disk}/web", "redis_url": self.redis_url}
        self._write("web.conf", {"backend": web, "builder": {}, "signing": signing})

    def _write(self, name: str, values: dict[str, dict[str, str]]) -> None:
        parser = ConfigParser(interpolation=None)
        parser.read_dict(values | {"web": {"port": str(self.web_port)}})
        temporary = self.top / f"{name}.new"
        with temporary.open("w") as file:
            parser.write(file)
        temporary.replace(self.top / name)

    def start(self) -> None:
        """Everything up, and kept up until `finish`."""
        self.disk.mkdir()
        if os.geteuid() == 0:
            mount = [
                "mount",
                "-t",
                "tmpfs",
                "-o",
                f"size={DISK},nr_inodes={FILES},mode=755",
                "chaos",
                str(self.disk),
            ]
            self.mounted = subprocess.run(mount, check=False).returncode == 0
        self.configure(self.workers)
        config = load(self.top / "copr-be.conf")
        (self.top / "password").write_text(PASSWORD)
        if self.mode == "external":
            (self.top / "redis").mkdir()
            self._keep("redis", self._redis_server)
        if self.embedded:
            self.listener.close()
        else:
            chroot = str(RpmbuildBuilder(config).chroots()[0])
            self._keep("web", lambda: self._web(chroot))
            self.proxy.start()
        self._keep("daemon", self._daemon)

    def _redis_server(self) -> "subprocess.Popen[bytes]":
        where = ["--dir", str(self.top / "redis"), "--port", str(self.redis_port)]
        aof = ["--appendonly", "yes", "--save", "", "--bind", "127.0.0.1"]
        return self._popen("redis", ["redis-server", *where, *aof])

    def _web(self, chroot: str) -> "subprocess.Popen[bytes]":
        fd = self.listener.fileno()
        args = [str(self.top / "web.conf"), str(fd), str(self.top / "password"), chroot]
        command = [sys.executable, "-m", "tests.chaos.webserver", *args]
        return self._popen("web", command, fds=(fd,))

    def _daemon(self) -> "subprocess.Popen[bytes]":
        conf = str(self.top / "copr-be.conf")
        return self._popen("daemon", [sys.executable, "-m", "backend.cli", "-c", conf])

    def _popen(
        self, name: str, command: list[str], fds: tuple[int, ...] = ()
    ) -> "subprocess.Popen[bytes]":
        with (self.top / f"{name}.out").open("ab") as out:
            return subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=self.env,
                pass_fds=fds, start_new_session=True,
            )  # fmt: skip

    def _keep(self, name: str, launch: Callable[[], "subprocess.Popen[bytes]"]) -> None:
        """Start it, and again whenever it ends: at once, then with systemd's patience."""

        def keep() -> None:
            while not self.stopping.is_set():
                if name in self.held:
                    self.stopping.wait(0.05)
                    continue
                with self._lock:
                    child = self._children[name] = launch()
                code = child.wait()
                if not self.stopping.is_set():
                    self.exits.append(f"{name} {code}")
                    self.log(f"{name} ended ({code}), started again")
                    self.stopping.wait(0.1 if code < 0 else 0.5)

        thread = threading.Thread(target=keep, daemon=True)
        thread.start()
        self._keepers.append(thread)

    # --- looking and acting ---------------------------------------------------------------

    def procs(self, role: str = "") -> list[Proc]:
        """Our processes, or those of one role (`procs.named`)."""
        every = procs.ours(self.top, self.uid)
        return procs.named(every, role) if role else every

    def master(self) -> Proc | None:
        """The daemon's master, once it calls itself so."""
        found = self.procs("master")
        return found[0] if found else None

    @contextlib.contextmanager
    def full_disk(self, leave: int) -> Iterator[None]:
        """Fill the tmpfs up to `leave` bytes; everything is freed again on leaving."""
        ballast = self.disk / "ballast"
        free = os.statvfs(self.disk)
        size = free.f_bavail * free.f_frsize - leave
        try:
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(size, 1))
            yield
        finally:
            ballast.unlink(missing_ok=True)

    @contextlib.contextmanager
    def no_files(self, leave: int) -> Iterator[None]:
        """Only `leave` more files can be made on the tmpfs, until this is left."""
        used = os.statvfs(self.disk)
        try:
            self._remount(used.f_files - used.f_ffree + leave)
            yield
        finally:
            self._remount(FILES)

    def _remount(self, files: int) -> None:
        command = ["mount", "-o", f"remount,nr_inodes={files}", str(self.disk)]
        subprocess.run(command, check=False, capture_output=True)

    @contextlib.contextmanager
    def redis_held(self) -> Iterator[Path | None]:
        """While open, a killed external Redis stays dead; gives the file that it appends to."""
        self.held.add("redis")
        try:
            files = sorted((self.top / "redis").glob("appendonlydir/*.incr.aof"))
            yield files[-1] if files else None
        finally:
            self.held.discard("redis")

    # --- ending ---------------------------------------------------------------------------

    def stop_daemon(self, patience: float = 30.0) -> int | None:
        """SIGTERM to the master; its exit code, None if it did not end."""
        self.stopping.set()
        child = self._children["daemon"]
        child.send_signal(signal.SIGTERM)
        try:
            return child.wait(patience)
        except subprocess.TimeoutExpired:
            return None

    def keys(self) -> list[str]:
        """What is left in Redis; a private server is started once more to read its file."""
        if self.mode == "external":
            return sorted(str(key) for key in self.redis.scan_iter())
        data, sock = self.statedir / "redis", self.top / "last.sock"
        aof = ["--appendonly", "yes", "--save", "", "--port", "0", "--unixsocket", str(sock)]
        child = self._popen("last", ["redis-server", "--dir", str(data), *aof])
        client = redis.Redis(unix_socket_path=str(sock), decode_responses=True)
        deadline = time.monotonic() + 20
        try:
            while time.monotonic() < deadline:
                with contextlib.suppress(redis.RedisError):
                    return sorted(str(key) for key in client.scan_iter())
                select.select([], [], [], 0.02)
            return ["(cannot read the private Redis)"]
        finally:
            child.terminate()
            child.wait()

    def stop_rest(self) -> None:
        """End proxy, frontend and Redis: what the test itself started."""
        self.stopping.set()
        self.proxy.stop()
        for name in ("web", "redis"):
            if child := self._children.get(name):
                child.terminate()
                child.wait()
        for thread in self._keepers:
            thread.join(5)

    def close(self) -> None:
        """Whatever happened: kill everything that is ours, and unmount."""
        self.stopping.set()
        self.proxy.stop()
        while left := self.procs():
            for proc in left:
                proc.signal(signal.SIGKILL)
            for child in self._children.values():
                child.poll()
            select.select([], [], [], 0.02)
        self.listener.close()
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.disk)], check=False)


@contextlib.contextmanager
def arena(seed: int, mode: str, log: Callable[[str], None], keep: bool = False) -> Iterator[Arena]:
    """An arena in a short temporary directory; `keep` leaves the directory for a post mortem."""
    top = Path(tempfile.mkdtemp(prefix="chaos-"))
    place = Arena(top, seed, mode, log)
    try:
        yield place
    finally:
        place.close()
        if not keep:
            subprocess.run(["rm", "-rf", str(top)], check=False)
