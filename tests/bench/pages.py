"""Part g: pages and lists of a large farm, and one live log followed by many."""

import contextlib
import http.client
import multiprocessing
import os
import selectors
import signal
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Table, insert

from backend.config import Config, load
from backend.constants import Source, Status
from backend.daemons.web import listen
from backend.web.models import Base, Build, BuildChroot, Package, Project
from backend.web.schema import prepare
from backend.web.server import serve
from backend.web.setup import first_start
from backend.web.store import database_url, make_engine
from tests.bench import daemon, proc

CHROOTS = ("fedora-41-x86_64", "debian-12-x86_64")
_AT_ONCE = 5000
#: What copr-cli asks for at once.
_LIMIT = 1000
#: Rounds that only warm up.
_WARM = 2


@dataclass(frozen=True, kw_only=True)
class Size:
    """A farm of `projects` that share `builds`; beside them one project with `listed` builds.
    Each page is asked for `rounds` times, `readers` follow a log that grows for `seconds`."""

    projects: int
    builds: int
    listed: int
    rounds: int
    readers: int
    seconds: float


LARGE = Size(projects=1000, builds=10_000, listed=100_000, rounds=30, readers=200, seconds=10)
SMALL = Size(projects=3, builds=30, listed=50, rounds=1, readers=3, seconds=0.3)


def measure(top: Path, size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """Milliseconds of pages and lists; CPU seconds of the frontend for each second of the log."""
    before = daemon.load()
    config = _config(top / "pages")
    say(f"{size.builds} builds in {size.projects} projects, and one with {size.listed}")
    small = _fill(config, size)
    with _serving(config) as pid:
        say("pages")
        rows = _pages(config, pid, size)
        say("lists")
        lists = _lists(config, pid, size)
        say(f"{size.readers} readers of one live log")
        readers = _readers(config, pid, small, size)
    return {
        "projects": size.projects, "builds": size.builds, "listed": size.listed,
        "rows": rows, "lists": lists, "readers": readers, "load": [before, daemon.load()],
    }  # fmt: skip


# --- a farm ---------------------------------------------------------------------------------


def _config(top: Path) -> Config:
    top.mkdir()
    (top / "be.conf").write_text("[backend]\n")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    places = {f"backend.{key}": str(top / key) for key in ("destdir", "statedir", "rundir")}
    return load(top / "be.conf", {**places, "web.port": str(port)})


def _fill(config: Config, size: Size) -> int:
    """Makes all rows; returns the number of a build that runs, with a log."""
    first_start(config)
    engine = make_engine(database_url(config))
    prepare(engine)
    with engine.execution_options(copr_write=True).begin() as connection:
        projects = [_project(number + 1, f"project{number}") for number in range(size.projects)]
        large = _project(size.projects + 1, "large")
        _insert(connection, Project, [*projects, large])
        owners = [number % size.projects + 1 for number in range(size.builds)]
        _builds(connection, [*owners, *[large["id"]] * size.listed])
    engine.dispose()
    return size.builds


def _project(number: int, name: str) -> dict[str, Any]:
    return {
        "id": number, "owner": "admin", "name": name, "description": "A project of a farm.",
        "settings": {}, "chroots": list(CHROOTS), "chroot_settings": {}, "created_on": number,
    }  # fmt: skip


def _insert(connection: Connection, model: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    table = cast(Table, model.__table__)
    for start in range(0, len(rows), _AT_ONCE):
        connection.execute(insert(table), list(rows[start : start + _AT_ONCE]))


def _builds(connection: Connection, owners: Sequence[int]) -> None:
    """Builds of the projects with these ids, each of its own package among a hundred."""
    builds, chroots, packages = [], [], set()
    for number, project in enumerate(owners, 1):
        name, good = f"package{number % 100}", number % 10
        status = int(Status.SUCCEEDED if good else Status.FAILED)
        packages.add((project, name))
        builds.append({
            "id": number, "project_id": project, "dirname": "x", "submitter": "admin",
            "source_type": int(Source.LINK), "source": {"url": f"http://x/{name}.src.rpm"},
            "source_status": int(Status.SUCCEEDED), "timeout": 18000, "excluded": [],
            "pkg_name": name, "pkg_version": "1.0-1", "srpm_url": "http://x/s.src.rpm",
            "result_dir": f"{number:08d}", "submitted_on": number, "started_on": number,
            "ended_on": number + 9, "final": status, "options": {},
        })  # fmt: skip
        chroots += [
            {
                "build_id": number, "name": chroot, "status": status, "started_on": number,
                "ended_on": number + 9, "result_dir": f"{number:08d}-{name}", "packages": [],
            }
            for chroot in CHROOTS
        ]  # fmt: skip
    _insert(connection, Build, builds)
    _insert(connection, BuildChroot, chroots)
    _insert(connection, Package, [{"project_id": p, "name": n} for p, n in sorted(packages)])


def _run(config: Config, sock: socket.socket) -> None:
    serve(config, sock, password="x", chroots=CHROOTS, wake=lambda _why, _tasks: None)
    os._exit(0)


@contextlib.contextmanager
def _serving(config: Config) -> Iterator[int]:
    """The frontend in a process of its own; its id."""
    sock = listen(config)
    process = multiprocessing.get_context("fork").Process(target=_run, args=(config, sock))
    process.start()
    sock.close()
    pid = process.pid or 0
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGTERM)
        process.join(30)
        process.kill()
        process.join()


# --- pages and lists ------------------------------------------------------------------------


class _Client:
    """One connection, as a browser keeps it; asks, and tells the milliseconds."""

    def __init__(self, config: Config) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", config.web_port, timeout=120)

    def __call__(self, path: str) -> float:
        begin = time.perf_counter()
        self._http.request("GET", path)
        reply = self._http.getresponse()
        reply.read()
        taken = (time.perf_counter() - begin) * 1000
        if reply.status != 200:
            raise RuntimeError(f"{path}: {reply.status}")
        return taken


def _client(config: Config) -> _Client:
    """A client of a frontend that serves."""
    end = time.monotonic() + 60
    while True:
        client = _Client(config)
        try:
            client("/healthz")
        except OSError:
            if time.monotonic() > end:
                raise
            continue
        return client


def _pages(config: Config, pid: int, size: Size) -> list[dict[str, Any]]:
    client, last = _client(config), size.builds + size.listed
    paths = {
        "front page": "/",
        "project page": "/coprs/admin/project0/",
        f"project page, {size.listed} builds": "/coprs/admin/large/",
        "build page": f"/coprs/build/{last}",
        "search": "/search?q=package1",
    }
    return [{"name": name, **_times(client, pid, [path], size.rounds)[0]} for name, path in
            paths.items()]  # fmt: skip


def _times(client: _Client, pid: int, paths: Sequence[str], rounds: int) -> list[dict[str, float]]:
    """Of each path, asked for in turns: milliseconds until the answer is there, and of CPU."""
    taken: list[list[float]] = [[] for _ in paths]
    used: list[list[float]] = [[] for _ in paths]
    for number in range(rounds + _WARM):
        for path, ours, cpu in zip(paths, taken, used, strict=True):
            before = proc.cpu_of_family(pid)
            one = client(path)
            if number >= _WARM:
                ours.append(one)
                cpu.append((proc.cpu_of_family(pid) - before) * 1000)
    return [
        {
            "p50_ms": statistics.median(ours),
            "p95_ms": sorted(ours)[int(0.95 * (len(ours) - 1))],
            "cpu_ms": statistics.median(cpu),
        }
        for ours, cpu in zip(taken, used, strict=True)
    ]


def _lists(config: Config, pid: int, size: Size) -> list[dict[str, Any]]:
    """The same list at its beginning and at nine tenths of it, in turns."""
    client, far = _client(config), size.listed * 9 // 10
    rows = []
    for name, more in {"builds": "", "succeeded": "&status=succeeded", "newest first":
                       "&order_type=DESC"}.items():  # fmt: skip
        base = f"/api_3/build/list?ownername=admin&projectname=large{more}"
        for limit in (10, _LIMIT):
            path = f"{base}&limit={limit}&offset="
            where = far * 9 // 10 if "status" in more else far  # one in ten has failed
            first, there = _times(client, pid, [f"{path}0", f"{path}{where}"], size.rounds)
            ratio = there["cpu_ms"] / first["cpu_ms"] if first["cpu_ms"] else 1.0
            row = {"name": name, "limit": limit, "offset": where, "ratio": ratio}
            rows.append(row | {"first": first, "there": there})
    return rows


# --- a live log -----------------------------------------------------------------------------

_LINE = b"[%d] gcc -O2 -g -Wall -Wextra -c -o file.o file.c, as a compiler is called\n"
_END = b"this is the last line"


def _readers(config: Config, pid: int, build: int, size: Size) -> dict[str, Any]:
    """A log that grows ten times a second, and all who read it."""
    log = config.destdir / "admin" / "x" / CHROOTS[0] / f"{build:08d}-package{(build) % 100}"
    log.mkdir(parents=True)
    log /= "builder-live.log"
    log.write_bytes(b"it begins\n")
    request = f"GET /coprs/build/{build}/follow/{CHROOTS[0]} HTTP/1.1\r\nHost: x\r\n\r\n"
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as ready:
        for _ in range(size.readers):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", config.web_port)))
            sock.sendall(request.encode())
            ready.register(sock, selectors.EVENT_READ, bytearray())
        _read(ready, lambda got: b"it begins" in got, 60)
        begin, before = time.monotonic(), proc.cpu_of_family(pid)
        with log.open("ab", buffering=0) as file:
            number = 0
            while time.monotonic() - begin < size.seconds:
                file.write(b"".join(_LINE % n for n in range(number, number + 10)))
                number += 10
                _read(ready, lambda _: False, 0.1)
            file.write(_END + b"\n")
        complete = _read(ready, lambda got: _END in got, 60)
        taken, seconds = proc.cpu_of_family(pid) - before, time.monotonic() - begin
    return {
        "readers": size.readers, "complete": complete, "lines_per_s": number / seconds,
        "cores": taken / seconds, "seconds": seconds,
    }  # fmt: skip


def _read(ready: selectors.DefaultSelector, enough: Callable[[bytes], bool], seconds: float) -> int:
    """Take what arrives until all readers have `enough`, or time is over; how many have."""
    end = time.monotonic() + seconds
    done: set[int] = set()
    while (left := end - time.monotonic()) > 0 and len(done) < len(ready.get_map()):
        for key, _ in ready.select(left):
            sock = cast(socket.socket, key.fileobj)
            part = sock.recv(65536)
            if not part:
                raise RuntimeError(f"the frontend has left a reader: {bytes(key.data[-200:])!r}")
            key.data.extend(part)
            del key.data[:-4096]  # the end is enough
            if enough(key.data):
                done.add(key.fd)
    return len(done)
