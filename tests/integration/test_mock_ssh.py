"""mock on a host over a real sshd: as mock here, its own logs included. A stand-in is mock."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import config
from backend.builders import BuildRequest
from backend.chroot import Chroot
from backend.exceptions import BuildError, Canceled, HostError
from backend.hosts import connect
from tests.conftest import wait_until
from tests.integration import sshd
from tests.integration.farm import make_srpm
from tests.integration.test_mock import STAND_IN, Watcher

pytestmark = [pytest.mark.sshd, pytest.mark.rpmbuild]
CHROOT = Chroot.parse(f"mini-1-{os.uname().machine}")


class Site:
    """A host that has mock, and a connection to it."""

    def __init__(self, top: Path, host: sshd.Sshd) -> None:
        self.top, self.host, self.base = top, host, top / "lib"
        (top / "etc").mkdir()
        (top / "etc" / f"{CHROOT}.cfg").write_text("config_opts['chroot_setup_cmd'] = 'x'\n")
        self.base.mkdir()
        self.base.chmod(0o777)
        shutil.copyfile(STAND_IN, top / "mock")
        (top / "mock").chmod(0o755)
        path = top / "copr-be.conf"
        path.write_text(
            f"[backend]\nstatedir = {top}/state\nrundir = {top}/run\n[hosts]\n"
            f"identity = {top}/hosts/id\nknown_hosts = {top}/hosts/known_hosts\n"
            f"[builder]\ntype = tests.integration.mockhost:StandIn\nmock_configs = {top}/etc\n"
            f"mock_basedir = {self.base}\nmock_isolation = simple\n"
        )
        self.builder = connect(host.address, config.load(path))
        self.work = top / "work"
        self.logs: dict[str, str] = {}

    def build(self, name: str, watcher: Watcher | None = None, build: str = "true") -> list[str]:
        """The names of the results; `logs` are mock's own."""
        self.work.mkdir(mode=0o700)
        request = BuildRequest(
            srpm=make_srpm(self.top / "src", name, build),
            chroot=CHROOT,
            workdir=self.work,
            slot=0,
            timeout=600,
            stall_timeout=600,
            max_log=2**24,
        )
        try:
            made = self.builder.build(request, watcher or Watcher())
            return sorted(artifact.path.name for artifact in made)
        finally:
            self.logs = {log.stem: log.read_text() for log in (self.work / "logs").glob("*.log")}
            self.builder.cleanup(self.work, 0)

    def left(self) -> list[str]:
        """What builds have left on the host."""
        roots = [path.name for path in self.base.iterdir() if path.name != "starts.json"]
        return roots + [str(run) for run in self.host.runs()]


@pytest.fixture(scope="module")
def host() -> Iterator[Site]:
    # Not tmp_path: the ordinary user that mock runs as cannot look into that.
    top = Path(tempfile.mkdtemp(prefix="copr-mock-"))
    top.chmod(0o755)
    try:
        with sshd.hosts(top / "hosts", 1) as (host,):
            made = Site(top, host)
            yield made
            made.builder.close()
    finally:
        shutil.rmtree(top)


@pytest.fixture
def site(host: Site) -> Iterator[Site]:
    yield host
    wait_until(lambda: host.left() == [], what="nothing is left on the host")


def test_a_green_build_brings_packages_and_logs(site: Site) -> None:
    watcher = Watcher()
    assert site.build("hello", watcher) == ["hello-1-1.noarch.rpm", "hello-1-1.src.rpm"]
    assert b"Wrote:" in watcher.log
    assert sorted(site.logs) == ["build", "hw_info", "installed_pkgs", "root", "state"]
    assert "mini-distro-1-1" in site.logs["installed_pkgs"]
    assert site.logs["build"].endswith("Child return code was: 0\n")


def test_failures_are_told_apart_and_explained_by_their_logs(site: Site) -> None:
    with pytest.raises(BuildError, match=r"Bad exit status from .* \(%build\)"):
        site.build("broken", build="false")
    assert "Child return code was: 1" in site.logs["build"]
    with pytest.raises(BuildError, match=r"missing dependencies: .*libnothere-devel >= 3"):
        site.build("missing")
    assert "libnothere-devel" in site.logs["root"]
    with pytest.raises(BuildError, match=r"refused result 'x\.rpm': Is a directory"):
        site.build("odd", build="mkdir -p %{_topdir}/RPMS/x.rpm")
    with pytest.raises(HostError, match="packages could not be fetched"):
        site.build("dead")
    assert "All mirrors were tried" in site.logs["root"]
    assert "hw_info" in site.logs


def test_a_canceled_build_leaves_its_logs_and_nothing_else(site: Site) -> None:
    watcher = Watcher(b"rpmbuild is at work")
    with pytest.raises(Canceled):
        site.build("slow", watcher)
    assert b"Exiting on user interrupt" in watcher.log
    assert sorted(site.logs) == ["hw_info", "root", "state"]


def test_logs_arrive_whole_over_a_connection_that_is_cut(site: Site) -> None:
    class Cut(Watcher):
        def output(self, data: bytes) -> None:
            super().output(data)
            if b"Start: chroot init" in self.log and not self.done:
                self.done = True
                site.host.drop()

        done = False

    assert site.build("hello", Cut()) == ["hello-1-1.noarch.rpm", "hello-1-1.src.rpm"]
    assert sorted(site.logs) == ["build", "hw_info", "installed_pkgs", "root", "state"]
