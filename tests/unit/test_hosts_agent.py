"""The agent and its guard, as they run on a host; a shell stands in for ssh."""

import contextlib
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from backend.builders import Builder
from backend.config import Config
from backend.exceptions import BuildError, HostError, Killed
from backend.hosts import Host, connect, guard, ssh
from backend.hosts import runs as runs_of_hosts
from backend.hosts.bundle import bundle
from backend.hosts.order import builder_module, host_config
from backend.hosts.runs import DONE, Run
from backend.hosts.ssh import Connection, Nobody
from backend.hosts.wire import Frame, to_json
from tests.conftest import wait_until
from tests.unit import hosts
from tests.unit.hosts import Quiet

ADDRESS = "ssh://copr@h1"


@pytest.fixture(autouse=True)
def _shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "arguments", lambda *_, **__: ["/bin/sh", "-c"])


class Client:
    """One connection, frame by frame."""

    def __init__(self, config: Config) -> None:
        made = bundle(builder_module(config))
        self.line = Connection(Host.parse(ADDRESS), config, made)
        self.line.greet(Nobody(), 60)
        self.config = config

    def ask(self, kind: str, data: bytes = b"", **fields: Any) -> None:
        self.line.send(kind, data, **fields)

    def hear(self, *kinds: str) -> Frame:
        while True:
            frame = self.line.next(Nobody(), 60)
            assert frame, f"waiting for {kinds}"
            if frame.kind in kinds:
                return frame
            assert frame.kind != "trouble", frame

    def setup(self, **other: Any) -> Frame:
        fields = {"farm": "f", "lease": 60, "tick": 1, "limit": 1, **other}
        self.ask("setup", config=host_config(self.config), **fields)
        return self.hear("ready", "trouble")

    def start(self, top: Path, text: str, run: str = "f-1") -> None:
        request = hosts.request(top, text)
        data = request.srpm.read_bytes()
        self.ask("open", run=run, name=request.srpm.name)
        self.ask("data", data)
        self.ask("start", request=to_json(request), size=len(data))
        self.hear("started")
        self.ask("follow", run=run, offset=0)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    made = Client(hosts.config(tmp_path))
    yield made
    made.line.close()


def runs(top: Path) -> list[Path]:
    return list((top / "host" / "runs").glob("*"))


def test_a_build_that_nobody_asks_for_ends_by_itself(client: Client, tmp_path: Path) -> None:
    client.setup(lease=5)
    client.start(tmp_path, "print begun\nwait")
    assert client.hear("log").data == b"begun\n"
    client.line.close()
    wait_until(lambda: not runs(tmp_path), 75, what="the guard has removed everything")


def test_a_build_that_is_asked_for_goes_on_without_us(client: Client, tmp_path: Path) -> None:
    client.setup()
    client.start(tmp_path, "print begun\nwait")
    client.hear("log")
    client.line.close()
    other = Client(client.config)
    other.setup()
    other.ask("follow", run="f-1", offset=3)
    assert other.hear("log").data == b"un\n"
    other.ask("cancel", run="f-1")
    assert other.hear("end").fields["outcome"]["error"] == "Canceled"
    other.ask("done", run="f-1")
    wait_until(lambda: not runs(tmp_path), 75)
    other.line.close()


def test_a_lost_build_gives_way_to_the_next(client: Client, tmp_path: Path) -> None:
    client.setup()
    client.start(tmp_path, "print begun\nwait")
    client.hear("log")
    other = Client(client.config)
    other.setup(tick=0)
    other.start(tmp_path, "print the next", run="f-2")
    wait_until(lambda: [path.name for path in runs(tmp_path)] == ["f-2"])
    assert other.hear("end")
    other.ask("done", run="f-2")
    wait_until(lambda: not runs(tmp_path), 75)
    other.line.close()


def test_a_lost_build_gives_way_when_the_clock_was_years_ahead(
    client: Client, tmp_path: Path
) -> None:
    client.setup()
    client.start(tmp_path, "print begun\nwait")
    client.hear("log")
    later = time.time() + 10 * 365 * 86400
    os.utime(tmp_path / "host" / "runs" / "f-1" / "lease", (later, later))
    other = Client(client.config)
    other.setup(tick=0)
    other.ask("open", run="f-2", name="a.src.rpm")
    # Sooner than the minute after which the host would be called unfit.
    wait_until(lambda: [path.name for path in runs(tmp_path)] == ["f-2"], 45)
    other.line.close()


def test_one_that_is_over_and_not_fetched_makes_nobody_give_way(tmp_path: Path) -> None:
    clients = [Client(hosts.config(tmp_path)) for _ in range(3)]
    for number, client in enumerate(clients):
        client.setup(limit=2, tick=0)
        client.start(tmp_path, "print over" if number else "print begun\nwait", run=f"f-{number}")
        client.hear("end" if number else "log")
        os.utime(tmp_path / "host" / "runs" / "f-0" / "lease", (1, 1))  # it was asked for first
    assert sorted(path.name for path in runs(tmp_path)) == ["f-0", "f-1", "f-2"]
    for number, client in enumerate(clients):
        client.ask("done", run=f"f-{number}")
    wait_until(lambda: not runs(tmp_path))
    for client in clients:
        client.line.close()


def test_only_those_that_nobody_asks_for_give_way(tmp_path: Path) -> None:
    clients = [Client(hosts.config(tmp_path)) for _ in range(3)]
    for number, client in enumerate(clients[:2]):
        client.setup(limit=2)
        client.start(tmp_path, "print begun\nwait", run=f"f-{number}")
        client.hear("log")
    leases = [tmp_path / "host" / "runs" / f"f-{number}" / "lease" for number in range(2)]
    later = leases[0].stat().st_mtime + 3600
    os.utime(leases[0], (later, later))  # asked for, all the time
    os.utime(leases[1], (1, 1))
    clients[2].setup(limit=1, tick=30)
    clients[2].ask("open", run="f-2", name="a.src.rpm")
    # What gave way is removed at once: perhaps before its own agent has seen how it ended.
    assert clients[1].hear("end").fields["outcome"]["error"] in ("Stopped", "Killed")
    wait_until(lambda: [path.name for path in runs(tmp_path)] == ["f-0"])
    os.utime(leases[0], (1, 1))
    assert clients[0].hear("end").fields["outcome"]["error"] in ("Stopped", "Killed")
    clients[2].ask("ping")
    clients[2].hear("pong")
    wait_until(lambda: [path.name for path in runs(tmp_path)] == ["f-2"])
    for client in clients:
        client.line.close()


def test_who_asks_at_the_same_moment_does_not_get_the_same_place(tmp_path: Path) -> None:
    clients = [Client(hosts.config(tmp_path)) for _ in range(6)]
    for client in clients:
        client.setup(limit=2, tick=0)
    for number in range(500):  # to look at them all takes a while
        (tmp_path / "host" / "runs" / f"g-{number}").mkdir(parents=True)
        (tmp_path / "host" / "runs" / f"g-{number}" / "lock").touch()
    for number, client in enumerate(clients):
        client.ask("open", run=f"f-{number}", name="a.src.rpm")
    for client in clients:
        with contextlib.suppress(ssh.Lost):  # it had to give way
            client.ask("ping")
            client.hear("pong")
    left = runs_of_hosts.building(tmp_path / "host", "f")
    assert len(left) == 2
    for client in clients:
        client.line.close()


def test_other_farms_builds_do_not_give_way(client: Client, tmp_path: Path) -> None:
    client.setup()
    client.start(tmp_path, "print begun\nwait")
    client.hear("log")
    other = Client(client.config)
    other.setup(farm="g")
    other.start(tmp_path, "print theirs", run="g-1")
    other.hear("end")
    assert {path.name for path in runs(tmp_path)} == {"f-1", "g-1"}
    for one, run in ((other, "g-1"), (client, "f-1")):
        one.ask("done", run=run)
    wait_until(lambda: not runs(tmp_path), 75)
    other.line.close()


def test_a_host_is_known_to_a_farm_by_one_name(client: Client, tmp_path: Path) -> None:
    client.setup()

    def claim(name: str, *others: str, farm: str = "f") -> str:
        client.setup(farm=farm)
        client.ask("claim", name=name, others=others)
        return client.hear("claimed").text("name")

    assert claim("ssh://u@a", "ssh://u@b") == "ssh://u@a"
    assert claim("ssh://u@b", "ssh://u@a", "ssh://u@c") == "ssh://u@a"
    assert claim("ssh://u@b", "ssh://u@a", farm="g") == "ssh://u@b"  # another farm's own affair
    assert claim("ssh://u@b", "ssh://u@c") == "ssh://u@b"  # the configuration has a new name
    assert claim("ssh://u@a", "ssh://u@b") == "ssh://u@b"
    noted = tmp_path / "host" / "name-f"
    noted.write_text("another-boot ssh://u@b\n")  # of the machine that its disk is a copy of
    assert claim("ssh://u@a", "ssh://u@b") == "ssh://u@a"
    client.ask("setup", config=host_config(client.config), farm="../f", lease=60, tick=1, limit=1)
    client.hear("ready")
    client.ask("claim", name="ssh://u@a", others=[])
    with pytest.raises(AssertionError, match="no name of a farm"):
        client.hear("claimed")


def test_what_a_dead_host_kept_is_swept(client: Client, tmp_path: Path) -> None:
    left = tmp_path / "host" / "runs" / "f-9"
    (left / "work").mkdir(parents=True)
    (left / "work" / "something").touch()
    (left / "lock").touch()
    assert client.setup().fields["swept"] == 1
    assert not runs(tmp_path)


@pytest.mark.parametrize("run", ["../x", "f-1/../..", "g-1", "", "F-1"])
def test_names_that_are_none_are_refused(client: Client, run: str) -> None:
    client.setup()
    client.ask("open", run=run, name="a.src.rpm")
    assert client.hear("trouble").fields["what"] == "open"


def test_a_source_that_did_not_arrive_whole_is_not_built(client: Client, tmp_path: Path) -> None:
    client.setup()
    client.ask("open", run="f-1", name="a.src.rpm")
    client.ask("data", b"12")
    client.ask("start", request=to_json(hosts.request(tmp_path, "")), size=3)
    assert "did not arrive whole" in client.hear("trouble").text("text")


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("print x\nfail it is broken", BuildError, "^it is broken$"),
        ("farm the disk is full", HostError, "host ssh://copr@h1: the disk is full"),
        ("bug oops", HostError, "the builder failed on its host: ValueError: oops"),
        ("die", Killed, "killed"),
    ],
)
def test_errors_come_back_as_what_they_are(
    tmp_path: Path, text: str, error: type[Exception], says: str
) -> None:
    builder = connect(ADDRESS, hosts.config(tmp_path))
    with pytest.raises(error, match=says):
        builder.build(hosts.request(tmp_path, text), Quiet())
    builder.close()
    wait_until(lambda: not runs(tmp_path), 75)


def test_a_host_that_cannot_build_says_what_is_missing(tmp_path: Path) -> None:
    config = hosts.config(tmp_path)
    object.__setattr__(config, "builder_chroot", "unfit-1-noarch")
    with pytest.raises(HostError, match="rpmbuild is not installed: apt-get install rpm"):
        connect(ADDRESS, config).ping()


def test_a_builder_that_is_killed_is_noticed(client: Client, tmp_path: Path) -> None:
    client.setup()
    client.start(tmp_path, "print begun\nsleep")
    client.hear("log")
    (run,) = runs(tmp_path)
    os.kill(_builder_of(run), signal.SIGKILL)
    assert client.hear("end").fields["outcome"]["error"] == "Killed"
    client.ask("done", run="f-1")
    wait_until(lambda: not runs(tmp_path), 75)


def test_a_build_whose_files_are_removed_ends_at_once(client: Client, tmp_path: Path) -> None:
    client.setup(lease=600)
    client.start(tmp_path, "print begun\nwait")
    client.hear("log")
    (run,) = runs(tmp_path)
    builder = os.pidfd_open(_builder_of(run))
    shutil.rmtree(run)
    assert client.hear("end").fields["outcome"]["error"] == "Killed"
    assert select.select([builder], [], [], 75)[0]
    os.close(builder)


def _builder_of(run: Path) -> int:
    """Who has the log open for writing."""
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if fd.readlink() == run / "log":
                info = Path(f"/proc/{fd.parts[2]}/fdinfo/{fd.name}").read_text()
                if int(info.split("flags:")[1].split()[0], 8) & os.O_WRONLY:
                    return int(fd.parts[2])
        except OSError:
            continue
    raise AssertionError("nobody writes the log")


def test_nobody_needs_it_any_more_while_the_build_is_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The builder has left its outcome, closed its pipe, and is not gone yet."""
    monkeypatch.setattr(guard, "GRACE", 0.1)
    run = Run(path=tmp_path / "f-1")
    lock, source = run.make("a.src.rpm")
    request = hosts.request(tmp_path, "print x")
    order = guard.Order(run=run, request=request, builder=cast(Builder, None), lease=600)
    watch = guard.Guard(order)
    reader, writer = os.pipe()
    os.close(reader)
    pid = os.fork()
    if not pid:
        os.execv("/bin/sleep", ["sleep", "600"])
    run.tell("control", DONE)
    assert watch._watch(pid, writer) is False
    for fd in (writer, lock, source):
        os.close(fd)
