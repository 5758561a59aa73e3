"""The driver with the real mock, and a small distribution made here: `make test-mock`, as root."""

import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backend import config, triage
from backend.builders import BuildRequest, Buildroot, mocksite
from backend.builders.mock import MockBuilder
from backend.chroot import Chroot
from backend.exceptions import BuildError, Canceled, InfrastructureError, Killed
from backend.triage import Kind
from tests.conftest import wait_until
from tests.integration import minidistro
from tests.integration.test_mock import Watcher

pytestmark = [
    pytest.mark.mock,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get("COPR_TEST_MOCK"), reason="make test-mock asks for it"),
]

ARCH = platform.machine()
CHROOT = Chroot.parse(f"mini-1-{ARCH}")
SPEC = """\
Name: {name}
Version: 1
Release: 1
Summary: Tiny
License: MIT
{tags}
%global debug_package %{{nil}}
%bcond_with extra
%description
Tiny
%build
echo 'int main(void){{return 0;}}' >h.c
{build}
gcc h.c -o {name}
%install
install -D -m 755 {name} %{{buildroot}}/usr/bin/{name}
%files
/usr/bin/{name}
"""


@pytest.fixture(scope="module")
def distribution() -> Iterator[Path]:
    for program in ("mock", "dnf", "debootstrap", "rpmbuild", "createrepo_c"):
        if not shutil.which(program, path="/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"):
            pytest.skip(f"{program} is not installed")
    if os.geteuid():
        pytest.skip("only root makes a distribution")
    forget()
    kept = Path(os.environ["COPR_TEST_MOCK"])
    if kept.is_absolute():  # by minidistro.make, which takes minutes, for many runs
        yield kept
    else:
        top = Path(tempfile.mkdtemp(prefix="copr-mini-", dir="/var/tmp"))
        top.chmod(0o755)
        try:
            yield minidistro.make(top, ARCH)
        finally:
            shutil.rmtree(top)
    forget()


def forget() -> None:
    """The prepared roots of this distribution: no test is to find one of an earlier run."""
    caches = Path("/var/cache/mock")
    for path in (*caches.glob(f"copr-{CHROOT}-*"), *caches.glob(f"copr-slot-*/copr-{CHROOT}-*")):
        shutil.rmtree(path)


class Farm:
    """The real mock with its own base directory."""

    def __init__(self, top: Path, configs: Path, isolation: str) -> None:
        self.top, self.base, self.isolation = top, top / "lib", isolation
        self.base.mkdir()
        shutil.chown(self.base, group="mock")
        self.base.chmod(0o2775)
        path = top / "copr-be.conf"
        path.write_text(
            f"[backend]\nstatedir = {top}/state\nrundir = {top}/run\n"
            f"[builder]\ntype = mock\nmock_configs = {configs}\nmock_basedir = {self.base}\n"
            f"mock_isolation = {isolation}\n"
        )
        self.config = config.load(path)
        self.builder = MockBuilder(self.config)
        self.builder.preflight()

    def request(
        self, name: str, slot: int = 0, tags: str = "", build: str = "", **more: Any
    ) -> BuildRequest:
        where = self.top / f"srpm-{slot}"
        where.mkdir(exist_ok=True)
        spec = where / f"{name}.spec"
        spec.write_text(SPEC.format(name=name, tags=tags, build=build))
        argv = ["rpmbuild", "-bs", "--nodeps", "--define", f"_srcrpmdir {where}", str(spec)]
        subprocess.run(argv, check=True, capture_output=True)
        work = self.top / f"work-{slot}"
        work.mkdir(mode=0o700)
        given = {"timeout": 900, "stall_timeout": 900, "max_log": 2**26, **more}
        srpm = where / f"{name}-1-1.src.rpm"
        return BuildRequest(srpm=srpm, chroot=CHROOT, workdir=work, slot=slot, **given)

    def build(self, request: BuildRequest, watcher: Watcher | None = None) -> list[str]:
        try:
            made = self.builder.build(request, watcher or Watcher())
            return sorted(one.path.name for one in made)
        finally:
            self.logs = sorted(path.name for path in request.workdir.glob("logs/*.log"))
            self.builder.cleanup(request.workdir, request.slot)
            assert not request.workdir.exists()

    def dies(self, request: BuildRequest, text: bytes) -> None:
        """Its worker is killed when mock says `text`; the next one finds and leaves nothing."""
        pid = os.fork()
        if pid == 0:
            try:
                self.builder.build(request, Watcher(text, "die"))
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        self.builder.cleanup(request.workdir, request.slot)
        self.clean()

    def clean(self) -> None:
        """Nothing is left: no root, no mount, no process of a build."""
        assert list(self.base.iterdir()) == []
        assert str(self.top) not in Path("/proc/self/mountinfo").read_text()
        user = mocksite.user(self.config).name
        argv = ["ps", "-o", "args=", "-u", user]
        wait_until(
            lambda: subprocess.run(argv, capture_output=True, check=False).stdout == b"",
            what="no process is left",
        )


@pytest.fixture(params=["simple", "nspawn"])
def farm(request: pytest.FixtureRequest, distribution: Path) -> Iterator[Farm]:
    if request.param == "nspawn" and not mocksite.has("systemd-nspawn"):
        pytest.skip("systemd-nspawn is not installed")
    top = Path(tempfile.mkdtemp(prefix="copr-mock-", dir="/var/tmp"))
    top.chmod(0o755)
    made = Farm(top, distribution, request.param)
    yield made
    made.clean()
    shutil.rmtree(top)


def test_green(farm: Farm) -> None:
    watcher = Watcher()
    macros = Buildroot(macros=(("copr_projectname", "p"),))
    build = "echo 'project %{copr_projectname} extra %{with extra}'"
    made = farm.build(
        farm.request("hello", build=build, with_opts=("extra",), buildroot=macros), watcher
    )
    assert set(made) == {f"hello-1-1.{ARCH}.rpm", "hello-1-1.src.rpm"}
    assert b"project p extra 1" in watcher.log
    assert farm.logs == ["build.log", "hw_info.log", "installed_pkgs.log", "root.log", "state.log"]


def test_a_bootstrap_root(farm: Farm) -> None:
    """dnf runs in a root of its own, which is cleaned up and kept as the other one is."""
    forget()
    bootstrap = Buildroot(bootstrap="on")
    killed = farm.request("hello", buildroot=bootstrap)
    farm.dies(killed, b"Start(bootstrap): creating root cache")
    for _ in ("made", "unpacked"):
        watcher = Watcher()
        assert len(farm.build(farm.request("hello", buildroot=bootstrap), watcher)) == 2
        assert b"Finish(bootstrap): chroot init" in watcher.log
        farm.clean()


def test_odd_files_among_the_packages(farm: Farm) -> None:
    there = "/builddir/build/RPMS/x.rpm"
    for left, reason in (
        (f"mkdir {there}", "Is a directory"),
        (f"ln -s /nowhere {there}", "No such file"),
    ):
        with pytest.raises(BuildError, match=reason):
            farm.build(farm.request("odd", build=left))
        farm.clean()


@pytest.mark.parametrize(
    ("tags", "build", "text", "kind"),
    [
        ("", "gcc -c nosuch.c", r"Bad exit status from \S+ \(%build\)", None),
        ("BuildRequires: nosuch-devel >= 3", "", "nosuch-devel >= 3", Kind.DEPENDENCIES),
        ("ExclusiveArch: z80", "", "ExclusiveArch", None),
    ],
)
def test_the_packages_own_fault(
    farm: Farm, tags: str, build: str, text: str, kind: Kind | None
) -> None:
    with pytest.raises(BuildError, match=text) as caught:
        farm.build(farm.request("broken", tags=tags, build=build))
    assert triage.of_message(str(caught.value)) is kind


def test_dead_repositories_and_unknown_packages(farm: Farm) -> None:
    dead = {"id": "dead", "baseurl": "http://127.0.0.1:9/"}
    with pytest.raises(Killed, match="packages could not be fetched"):
        farm.build(farm.request("hello", buildroot=Buildroot(repos=(dead,))))
    with pytest.raises(BuildError, match=r"missing dependencies: .*no-such-package"):
        farm.build(farm.request("hello", buildroot=Buildroot(packages=("no-such-package",))))


def test_a_bad_configuration(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> None:
    configs = farm.top / "configs"
    configs.mkdir()
    (configs / f"{CHROOT}.cfg").write_text("syntax error(\n")
    text = farm.config.path.read_text()
    old = str(farm.config.builder_mock_configs)
    farm.config.path.write_text(text.replace(old, str(configs)))
    farm.builder = MockBuilder(config.load(farm.config.path))
    with pytest.raises(Killed, match=r"exit code 3\): Config error"):
        farm.build(farm.request("hello"))


def test_limits_and_cancel(farm: Farm) -> None:
    stubborn = "trap '' TERM INT; echo now; sleep 86400"
    with pytest.raises(BuildError, match=r"no output for 60 s \(stall_timeout\)"):
        farm.build(farm.request("slow", build=stubborn, stall_timeout=60))
    with pytest.raises(Canceled):
        farm.build(farm.request("slow", build=stubborn), Watcher(b"echo now"))


def test_the_package_fills_the_disk(farm: Farm) -> None:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=800M,mode=2775", "small", str(farm.base)], check=True
    )
    try:
        shutil.chown(farm.base, group="mock")
        with pytest.raises(BuildError, match="build ended: it filled the disk"):
            farm.build(farm.request("hog", build="dd if=/dev/zero of=big bs=1M count=2000"))
        subprocess.run(["mount", "-o", "remount,size=100M", str(farm.base)], check=True)
        with pytest.raises(InfrastructureError, match="disk"):
            farm.build(farm.request("hello"))
    finally:
        subprocess.run(["umount", str(farm.base)], check=True)


@pytest.mark.parametrize("text", [b"echo now", b"Start: creating root cache", b"Package manager"])
def test_a_worker_is_killed_in_the_middle(farm: Farm, text: bytes) -> None:
    # Packages that no other test names make a new prepared root each time.
    fresh = ("gcc", *(("make",) if farm.isolation == "simple" else ())) if b"cache" in text else ()
    request = farm.request(
        "slow", build="echo now; sleep 86400", buildroot=Buildroot(packages=fresh)
    )
    farm.dies(request, text)
    again = farm.request("hello", buildroot=Buildroot(packages=fresh))
    assert len(farm.build(again)) == 2


def test_two_at_once(farm: Farm) -> None:
    requests = [farm.request(f"hello{slot}", slot) for slot in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(farm.build, requests))
    assert [len(names) for names in made] == [2, 2]
