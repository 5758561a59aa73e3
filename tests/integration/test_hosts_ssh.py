"""Builds over a real sshd: the same results as here, and what happens when the host goes wrong."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.builders import Artifact, BuildRequest
from backend.config import Config, load
from backend.daemons import hostwork
from backend.exceptions import (
    BuildError,
    Canceled,
    CoprBackendError,
    HostError,
    HostTwice,
    Killed,
)
from backend.hosts import HostBuilder, connect, lease
from backend.hosts.pool import Kind, Machine, State
from tests.conftest import wait_until
from tests.integration import sshd
from tests.integration.farm import make_srpm
from tests.integration.sshd import Sshd
from tests.procs import stat

pytestmark = [pytest.mark.sshd, pytest.mark.rpmbuild]

#: Goes on when there is a file /tmp/go in the sandbox.
WAIT = "echo first half\nuntil test -e /tmp/go; do sleep 0.02; done\necho second half"


class Watch:
    """A Monitor that remembers, and can be told to cancel."""

    def __init__(self) -> None:
        self.log = b""
        self.cancel = False
        self._fd, self._write = os.pipe()

    def output(self, data: bytes) -> None:
        self.log += data

    def wakeup_fd(self) -> int:
        return self._fd

    def check(self) -> None:
        if self.cancel:
            raise Canceled("canceled on request")

    def stop(self) -> None:
        self.cancel = True
        os.write(self._write, b"x")

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._write)


class Site:
    """A host, and what is built there."""

    def __init__(self, top: Path, host: Sshd, config: Config) -> None:
        self.top, self.host, self.config = top, host, config
        self.srpms: dict[str, Path] = {}
        self.count = 0

    def srpm(self, name: str, build: str) -> Path:
        if name not in self.srpms:
            self.srpms[name] = make_srpm(self.top / "src", name, build)
        return self.srpms[name]

    def builder(self, limit: int = 1, **options: Any) -> HostBuilder:
        return connect(self.host.address, replace(self.config, **options), limit)

    def request(self, builder: HostBuilder, srpm: Path) -> BuildRequest:
        self.count += 1
        workdir = self.top / f"work{self.count}"
        workdir.mkdir(mode=0o700)
        return BuildRequest(
            srpm=srpm,
            chroot=builder.chroots()[0],
            workdir=workdir,
            slot=0,
            timeout=300,
            stall_timeout=300,
            max_log=10**6,
        )

    def go(self) -> None:
        """Let a waiting build go on."""
        (run,) = self.host.runs()
        (run / "work" / "area" / "tmp" / "go").touch()

    def is_clean(self) -> bool:
        return not self.host.runs()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    top = tmp_path_factory.mktemp("ssh")
    with sshd.hosts(top / "hosts", 1) as (host,):
        conf = top / "copr-be.conf"
        conf.write_text(
            f"[backend]\nstatedir = {top}/state\nrundir = {top}/run\n[hosts]\n"
            f"identity = {top}/hosts/id\nknown_hosts = {top}/hosts/known_hosts\n"
        )
        yield Site(top, host, load(conf))


class Build:
    """A build in a thread of its own, which stays until the connection is closed: ssh dies with
    the thread that started it, and what was said last would be lost."""

    def __init__(self, site: Site, name: str, text: str, limit: int = 1, **options: Any) -> None:
        self.watch = Watch()
        self.artifacts: tuple[Artifact, ...] = ()
        self.error: CoprBackendError | None = None
        self.builder = site.builder(limit, **options)
        self._request = site.request(self.builder, site.srpm(name, text))
        self._over, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.artifacts = self.builder.build(self._request, self.watch)
        except CoprBackendError as error:
            self.error = error
        finally:
            self._over.set()
            self._leave.wait()
            self.builder.close()

    def __enter__(self) -> "Build":
        self._thread.start()
        return self

    def printed(self, text: bytes) -> "Build":
        """Wait until it has."""
        wait_until(lambda: text in self.watch.log or self._over.is_set(), 60, f"{text!r}")
        assert text in self.watch.log, (self.error, self.watch.log)
        return self

    def end(self) -> None:
        assert self._over.wait(300)

    def __exit__(self, *_: object) -> None:
        if not self._over.is_set():
            self.watch.stop()
        try:
            self.end()
        finally:
            self._leave.set()
            self._thread.join()
        self.builder.cleanup(self._request.workdir, 0)
        self.watch.close()


def test_results_are_those_of_a_build_here(site: Site) -> None:
    with Build(site, "green", "echo I am built") as build:
        build.end()
        assert build.error is None
        assert [artifact.path.name for artifact in build.artifacts] == [
            "green-1-1.noarch.rpm",
            "green-1-1.src.rpm",
        ]
        for artifact in build.artifacts:
            assert artifact.path.stat().st_mode & 0o7777 == 0o644
            assert artifact.path.name == artifact.package.filename
        assert build.watch.log.count(b"I am built") == 2  # the command, and what it says
    wait_until(site.is_clean, 75, what="nothing is left on the host")
    assert len(list((site.host.cache / "agent").iterdir())) == 1


def test_a_failure_is_that_of_the_package(site: Site) -> None:
    with Build(site, "red", "echo oh no; exit 3") as build:
        build.end()
        assert isinstance(build.error, BuildError)
        assert "Bad exit status" in str(build.error)
        assert b"oh no" in build.watch.log
    wait_until(site.is_clean, 75, what="nothing is left on the host")


def test_a_canceled_build_ends_on_the_host(site: Site) -> None:
    with Build(site, "waits", WAIT) as build:
        build.printed(b"\nfirst half\n").watch.stop()
        build.end()
        assert isinstance(build.error, Canceled)
        wait_until(site.is_clean, 75, what="nothing is left on the host")


def test_a_dropped_connection_is_resumed_where_it_was(site: Site) -> None:
    with Build(site, "waits", WAIT) as build:
        build.printed(b"\nfirst half\n")
        site.host.drop()
        site.go()
        build.end()
        assert build.error is None
        assert len(build.artifacts) == 2
        assert build.watch.log.count(b"\nfirst half\n") == 1
        assert build.watch.log.count(b"\nsecond half\n") == 1
    wait_until(site.is_clean, 75, what="nothing is left on the host")


def test_a_frozen_host_is_given_up_and_what_was_lost_there_gives_way(site: Site) -> None:
    with Build(site, "waits", WAIT, hosts_timeout=10) as build:
        build.printed(b"\nfirst half\n")
        site.host.freeze()
        try:
            build.end()
        finally:
            site.host.thaw()
        assert isinstance(build.error, HostError)
        assert "not heard of for" in str(build.error)
        # The host is back, and the lost build still runs there. It gives way to the next.
        with Build(site, "green", "echo I am built") as other:
            other.end()
            assert other.error is None
        wait_until(site.is_clean, 75, what="nothing is left on the host")


def test_without_sshd_the_host_is_given_up_at_once(site: Site) -> None:
    builder = site.builder()
    site.host.stop()
    try:
        with pytest.raises(HostError, match="Connection refused"):
            builder.ping()
    finally:
        site.host.start()
    builder.ping()
    builder.close()


def test_a_host_with_another_key_is_given_up_in_the_middle(site: Site) -> None:
    keys = [site.host.top / name for name in ("host_key", "host_key.pub")]
    before = [key.read_bytes() for key in keys]
    sshd.make_key(site.host.top / "other")
    others = [(site.host.top / name).read_bytes() for name in ("other", "other.pub")]
    with Build(site, "waits", WAIT, hosts_timeout=10) as build:
        build.printed(b"\nfirst half\n")
        site.host.stop()
        for key, content in zip(keys, others, strict=True):
            key.write_bytes(content)
        site.host.start()
        try:
            build.end()
        finally:
            site.host.stop()
            for key, content in zip(keys, before, strict=True):
                key.write_bytes(content)
            site.host.start()
        assert isinstance(build.error, HostError)
        assert "its key is another than in known_hosts" in str(build.error)
        with Build(site, "green", "echo I am built") as other:
            other.end()
            assert other.error is None
    wait_until(site.is_clean, 75, what="nothing is left on the host")


@pytest.fixture
def small(site: Site) -> Iterator[Path]:
    """The host's directory on a disk of 12 MB."""
    wait_until(site.is_clean, 75, what="nothing is left on the host")
    cache = site.host.top / "cache"
    cache.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12M", "small", cache], check=True)
    try:
        yield cache
        wait_until(site.is_clean, 75, what="nothing is left on the host")
    finally:
        subprocess.run(["umount", "-l", cache], check=True)


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_disk_that_is_filled_there_is_the_fault_of_who_has_filled_it(
    site: Site, small: Path
) -> None:
    with Build(site, "fills", "cat /dev/zero >big; cat big; echo not reached") as build:
        build.end()
        assert isinstance(build.error, BuildError), repr(build.error)
        assert "it filled the disk" in str(build.error)
    wait_until(site.is_clean, 75, what="nothing is left on the host")
    with Build(site, "waits", WAIT) as build:
        build.printed(b"\nfirst half\n")
        fill(small / "others")  # first: else the build may succeed before
        with contextlib.suppress(ValueError, OSError):  # it was ended already, or has no room
            site.go()
        build.end()
        assert isinstance(build.error, HostError), repr(build.error)
        assert "not by this build" in str(build.error)
    (small / "others").unlink()
    with Build(site, "green", "echo I am built") as build:
        build.end()
        assert build.error is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_disk_that_is_full_before_is_the_hosts_fault(site: Site, small: Path) -> None:
    fill(small / "others")
    builder = site.builder()
    with pytest.raises(HostError, match="No space left on device"):
        builder.ping()
    builder.close()


def test_a_second_name_of_a_host_is_refused(site: Site, tmp_path: Path) -> None:
    """Here its name beside its address, as two ports or two addresses of it would be."""
    keys = tmp_path / "known_hosts"
    keys.write_text(site.host.known + site.host.known.replace("127.0.0.1", "localhost"))
    config = replace(site.config, hosts_known_hosts=keys)
    addresses = [site.host.address, site.host.address.replace("127.0.0.1", "localhost")]
    machines = [
        Machine(name=address, group=0, kind=Kind.STATIC, state=State.CHECKING, born=0.0,
                address=address)
        for address in addresses
    ]  # fmt: skip
    assert hostwork.check(config, None, machines[0], addresses[1:])() == {}
    with pytest.raises(HostTwice, match=f"it is {addresses[0]} under another name"):
        hostwork.check(config, None, machines[1], addresses[:1])()
    assert hostwork.check(config, None, machines[0], addresses[1:])() == {}
    assert hostwork.check(config, None, machines[1])() == {}  # the first is there no more


def test_groups_that_share_a_host_have_their_slots_each(site: Site) -> None:
    (group,) = site.config.groups
    groups = [replace(group, id=number, hosts=(site.host.address,)) for number in range(2)]
    config = replace(site.config, groups=tuple(groups))
    machine = Machine(name="h", group=0, kind=Kind.STATIC, state=State.READY, born=0.0,
                      address=site.host.address)  # fmt: skip
    limits: list[int] = []

    def reach(address: str, config: Config, limit: int) -> HostBuilder:
        limits.append(limit)
        return connect(address, config, limit)

    lease.connect(config, machine, reach).close()
    assert limits == [2]


def test_a_killed_guard_takes_the_build_with_it(site: Site) -> None:
    with Build(site, "waits", WAIT) as build:
        build.printed(b"\nfirst half\n")
        (run,) = site.host.runs()
        holders = {*_holders(run / "control")}
        (guard,) = [pid for pid in holders if _parent(pid) not in holders]
        os.kill(guard, signal.SIGKILL)
        build.end()
        assert isinstance(build.error, Killed)
    # What it leaves is swept by whoever comes next.
    builder = site.builder()
    builder.ping()
    builder.close()
    assert site.is_clean()


def _holders(path: Path) -> list[int]:
    """Who has the file open, and no sshd session above it."""
    found = []
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if fd.readlink() == path:
                found.append(int(fd.parts[2]))
        except OSError:
            continue
    return found


def _parent(pid: int) -> int:
    return int(stat(pid)[1])


@pytest.mark.parametrize(
    ("option", "content", "says"),
    [
        ("hosts_known_hosts", "", "Host key verification failed.*known_hosts"),
        ("hosts_identity", None, "Permission denied.*authorized_keys"),
    ],
)
def test_what_keeps_us_out_is_said_with_the_remedy(
    site: Site, tmp_path: Path, option: str, content: str | None, says: str
) -> None:
    other = tmp_path / "other"
    if content is None:
        sshd.make_key(other)
    else:
        other.write_text(content)
    builder = site.builder(1, **{option: other})
    with pytest.raises(HostError, match=says):
        builder.ping()


def test_a_login_shell_that_ends_is_told_from_a_connection_that_does(site: Site) -> None:
    profile = site.host.top / ".bashrc"  # read for commands of sshd, too
    profile.write_text("exit 3\n")
    builder = site.builder()
    try:
        with pytest.raises(HostError, match="ended with exit code 3"):
            builder.ping()
    finally:
        profile.unlink()
        builder.close()


def test_a_host_without_python_is_told_apart(site: Site) -> None:
    builder = site.builder(hosts_python="/usr/bin/no-such-python")
    with pytest.raises(HostError, match="install Python"):
        builder.ping()
