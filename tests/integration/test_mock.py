"""The driver of mock, with a stand-in that behaves as mock 6.7 was seen to."""

import dataclasses
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backend import config, triage
from backend.builders import Artifact, BuildRequest, Buildroot, mockrun, mocksite
from backend.builders.mock import MockBuilder
from backend.builders.mocksite import User
from backend.chroot import Chroot
from backend.exceptions import BuildError, Canceled, InfrastructureError, Killed, ToolError
from backend.process import find
from tests.conftest import wait_until

pytestmark = pytest.mark.rpmbuild

STAND_IN = Path(__file__).with_name("mockstand.py")
CHROOT = Chroot.parse(f"mini-1-{os.uname().machine}")
SPEC = """\
Name: {name}
Version: 1
Release: 1
Summary: Tiny
License: MIT
BuildArch: noarch
%description
Tiny
%build
{build}
%install
mkdir -p %{{buildroot}}/usr/share/tiny
echo x >%{{buildroot}}/usr/share/tiny/x
%files
{files}
"""


class Watcher:
    """A monitor that keeps the log, and can end the build, or the whole process, at a text."""

    def __init__(self, at: bytes = b"", then: str = "cancel") -> None:
        self.log = b""
        self.at, self.then = at, then
        self.read, self.write = os.pipe()

    def output(self, data: bytes) -> None:
        self.log += data
        if self.at and self.at in self.log:
            if self.then == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(self.write, b"x")

    def wakeup_fd(self) -> int:
        return self.read

    def check(self) -> None:
        if self.at and self.at in self.log:
            raise Canceled("canceled")


class Farm:
    """A machine with mock: its user, its base directory, one chroot."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.base = top / "lib"
        (top / "etc").mkdir()
        (top / "srpms").mkdir()
        (top / "etc" / f"{CHROOT}.cfg").write_text("config_opts['chroot_setup_cmd'] = 'x'\n")
        self.base.mkdir()
        self.base.chmod(0o777)
        path = top / "copr-be.conf"
        path.write_text(
            f"[backend]\nstatedir = {top}/state\nrundir = {top}/run\n"
            f"[builder]\ntype = mock\nmock_configs = {top}/etc\nmock_basedir = {self.base}\n"
            "mock_isolation = simple\n"
        )
        self.builder = MockBuilder(config.load(path))

    def srpm(self, name: str, build: str = "true", files: str = "/usr/share/tiny/x") -> Path:
        spec = self.top / "srpms" / f"{name}.spec"
        spec.write_text(SPEC.format(name=name, build=build, files=files))
        argv = ["rpmbuild", "-bs", "--define", f"_srcrpmdir {spec.parent}", str(spec)]
        subprocess.run(argv, check=True, capture_output=True)
        return spec.with_name(f"{name}-1-1.src.rpm")

    def request(self, srpm: Path, slot: int = 0, **settings: Any) -> BuildRequest:
        work = self.top / f"work-{slot}"
        work.mkdir(mode=0o700)
        return BuildRequest(
            srpm=srpm,
            chroot=CHROOT,
            workdir=work,
            slot=slot,
            timeout=settings.pop("timeout", 600),
            stall_timeout=600,
            max_log=2**24,
            buildroot=Buildroot(**settings),
        )

    def build(self, name: str, watcher: Watcher | None = None, **settings: Any) -> list[str]:
        """Build, clean up, and return the names of the results."""
        spec = {key: settings.pop(key) for key in ("build", "files") if key in settings}
        request = self.request(self.srpm(name, **spec), **settings)
        try:
            made = self.builder.build(request, watcher or Watcher())
            return sorted(one.path.name for one in made)
        finally:
            logs = request.workdir / "logs"
            self.logs = {path.stem: path.read_text() for path in logs.glob("*.log")}
            self.builder.cleanup(request.workdir, request.slot)

    def starts(self) -> list[dict[str, Any]]:
        lines = (self.base / "starts.json").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def left(self) -> list[str]:
        """What builds have left: roots, work directories, processes of mock."""
        names = [path.name for path in self.base.iterdir() if path.name != "starts.json"]
        return names + [path.name for path in self.top.glob("work-*")] + self.processes()

    def processes(self) -> list[str]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
            except OSError:
                continue
            if any(str(self.top / name).encode() in words for name in ("mock", "lib")):
                found.append(words.decode())
        return found


@pytest.fixture
def farm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    # Not tmp_path: the ordinary user that mock runs as cannot look into that.
    top = Path(tempfile.mkdtemp(prefix="copr-mock-"))
    top.chmod(0o755)
    shutil.copyfile(STAND_IN, top / "mock")
    (top / "mock").chmod(0o755)
    name = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    entry = pwd.getpwnam(name)
    user = User(name=name, uid=entry.pw_uid, gid=entry.pw_gid, home=top)
    monkeypatch.setattr(
        "backend.builders.mockrun.find",
        lambda program: str(top / "mock") if program == "mock" else find(program),
    )
    monkeypatch.setattr(mocksite, "user", lambda config: user)
    monkeypatch.setattr(mocksite, "has", lambda program: program == "mock")
    made = Farm(top)
    yield made
    wait_until(lambda: made.left() == [], what="nothing is left")
    shutil.rmtree(top)


def test_a_green_build_with_all_its_settings(farm: Farm) -> None:
    watcher = Watcher()
    made = farm.build(
        "hello",
        watcher,
        repos=({"id": "copr_base", "baseurl": "https://copr.example.org/"},),
        packages=("git",),
        macros=(("buildtag", ".copr7"),),
    )
    assert made == ["hello-1-1.noarch.rpm", "hello-1-1.src.rpm"]
    assert "Wrote:" in watcher.log.decode()
    (start,) = farm.starts()
    assert start["uid"] == pwd.getpwnam("nobody").pw_uid or os.geteuid()
    assert "[copr_base]" in start["dnf.conf"]
    assert start["macros"].endswith("%_buildhost copr-backend\n%buildtag .copr7\n")
    assert sorted(farm.logs) == ["build", "hw_info", "installed_pkgs", "root", "state"]
    assert "mini-distro-1-1" in farm.logs["installed_pkgs"]


def test_results_are_ours(farm: Farm) -> None:
    request = farm.request(farm.srpm("hello"))
    for artifact in farm.builder.build(request, Watcher()):
        assert isinstance(artifact, Artifact)
        info = artifact.path.stat()
        assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (os.geteuid(), 0o644)
    farm.builder.cleanup(request.workdir, 0)


def test_failures_are_told_apart(farm: Farm) -> None:
    with pytest.raises(BuildError, match=r"Bad exit status from .* \(%build\)"):
        farm.build("broken", build="false")
    assert "Child return code was: 1" in farm.logs["build"]
    with pytest.raises(BuildError, match=r"missing dependencies: .*libnothere-devel >= 3"):
        farm.build("missing")
    with pytest.raises(InfrastructureError, match="packages could not be fetched"):
        farm.build("dead")
    with pytest.raises(BuildError, match="made no RPM"):
        farm.build("empty")


class Impatient(Watcher):
    """Ends the build as a limit does, at a text and not by the clock."""

    def check(self) -> None:
        if self.at in self.log:
            raise BuildError("build ended: no output for 9 s (stall_timeout)")


def test_silence_is_blamed_on_who_is_silent(farm: Farm) -> None:
    with pytest.raises(Killed, match=r"dnf hung while it installed packages: build ended: no out"):
        farm.build("hanging", Impatient(b"rpmbuild is at work"))
    with pytest.raises(BuildError, match=r"^build ended: no output for 9 s \(stall_timeout\)"):
        farm.build("slow", Impatient(b"rpmbuild is at work"))


#: What %install leaves where rpmbuild puts packages, and what is said of it.
ODD = [
    ("mkdir -p $R/x.rpm/y", "'x.rpm': Is a directory"),
    (r"""mkdir "$R/$(printf 'o\nd: d.rpm')" """, r"'o\nd: d.rpm': Is a directory"),
    ("ln -s /nowhere $R/x.rpm", "'x.rpm': No such file or directory"),
    ("ln -s x.rpm $R/x.rpm", "'x.rpm': Too many levels of symbolic links"),
    ("mkfifo $R/x.rpm", "'x.rpm': a named pipe"),
    ("ln -s /etc/passwd $R/x.rpm", "'x.rpm': no RPM package"),
    (r"""echo >"$R/$(printf 'o\nd.rpm')" """, r"'o\nd.rpm': no usual name of an RPM file"),
]


@pytest.mark.parametrize(("left", "text"), ODD)
def test_odd_files_among_the_packages_fail_the_build_at_once(
    farm: Farm, left: str, text: str
) -> None:
    with pytest.raises(BuildError) as caught:
        farm.build("odd", build=f"R=%{{_topdir}}/RPMS; mkdir -p $R; {left}")
    assert str(caught.value) == f"refused result {text}"
    assert triage.of_message(str(caught.value)) is triage.Kind.FILES


def test_a_bad_configuration_is_not_the_packages_fault(farm: Farm) -> None:
    (farm.top / "etc" / f"{CHROOT}.cfg").write_text("syntax error(\n")
    with pytest.raises(Killed, match=r"does not take its configuration \(exit code 3\)"):
        farm.build("hello")
    assert farm.logs == {}


def test_what_is_canceled_cleans_up_by_itself(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mockrun, "GRACE", 100.0)
    watcher = Watcher(b"rpmbuild is at work")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in workers
    try:
        with pytest.raises(Canceled):
            farm.build("slow", watcher)
    finally:
        signal.signal(signal.SIGINT, before)
    assert b"Exiting on user interrupt" in watcher.log
    assert len(farm.starts()) == 1


def test_what_does_not_listen_is_killed_and_scrubbed(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mockrun, "GRACE", 0.2)
    with pytest.raises(Canceled):
        farm.build("deaf", Watcher(b"rpmbuild is at work"))
    build, scrub = (start["argv"] for start in farm.starts())
    assert scrub[-4:] == ["--scrub", "chroot", "--scrub", "bootstrap"]
    same = scrub.index("--uniqueext") + 1
    assert scrub[same] == build[build.index("--uniqueext") + 1]


def test_a_directory_of_a_whole_task_is_swept_too(farm: Farm) -> None:
    request = farm.request(farm.srpm("slow"))
    task = farm.top / "work-9"
    task.mkdir(mode=0o700)
    build = request.workdir.rename(task / "build")
    request = dataclasses.replace(request, workdir=build)
    pid = os.fork()
    if pid == 0:
        try:
            farm.builder.build(request, Watcher(b"rpmbuild is at work", "die"))
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    farm.builder.cleanup(task, request.slot)


@pytest.mark.parametrize("package", ["slow", "cut", "bootcut"])
def test_a_killed_worker_leaves_nothing_to_the_next(farm: Farm, package: str) -> None:
    request = farm.request(farm.srpm(package))
    pid = os.fork()
    if pid == 0:
        try:
            farm.builder.build(request, Watcher(b"rpmbuild is at work", "die"))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    if os.geteuid() == 0:  # its process numbers end with it
        wait_until(lambda: farm.processes() == [], what="mock ends with its worker")
    assert [path.name for path in farm.base.glob("copr-*")]
    farm.builder.cleanup(request.workdir, request.slot)
    scrubs = [start for start in farm.starts() if "--scrub" in start["argv"]]
    thrown = {word for start in scrubs for word in start["argv"] if word == "root-cache"}
    assert bool(thrown) == (package != "slow")
    # A half copy of a bootstrap root is among the caches of the slot.
    assert any(start["caches"].endswith("/copr-slot-0") for start in scrubs) == (
        package == "bootcut"
    )


def extensions(farm: Farm) -> list[str]:
    words = [start["argv"] for start in farm.starts()]
    return [argv[argv.index("--uniqueext") + 1] for argv in words]


def test_two_at_once_share_nothing_but_the_prepared_root(farm: Farm) -> None:
    farm.builder.preflight()
    requests = [farm.request(farm.srpm(f"hello{number}"), slot=number) for number in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda one: farm.builder.build(one, Watcher()), requests))
    assert [len(results) for results in made] == [2, 2]
    for request in requests:
        farm.builder.cleanup(request.workdir, request.slot)
    words = [start["argv"] for start in farm.starts()]
    names = {Path(argv[argv.index("-r") + 1]).name for argv in words}
    assert (len(names), len(set(extensions(farm)))) == (1, 2)


def test_a_build_shares_its_name_with_no_other_farms_on_the_host(farm: Farm) -> None:
    """Their slots have the same numbers; their working directories differ.

    One after the other: a slot of one farm never has two builds at once.
    """
    for number in (0, 1):
        request = farm.request(farm.srpm("hello"), slot=number)
        request = dataclasses.replace(request, slot=0)
        assert len(farm.builder.build(request, Watcher())) == 2
        farm.builder.cleanup(request.workdir, request.slot)
    assert len(set(extensions(farm))) == 2


def test_notes_say_what_is_not_done(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mocksite, "has", lambda program: program == "mock")
    request = farm.request(
        farm.srpm("hello"), isolation="jail", bootstrap="odd", fedora_review=True, memory=2**40
    )
    notes = "\n".join(farm.builder.notes(request))
    for words in ("isolation jail not used", "bootstrap odd not used", "not cut off", "fedora-rev"):
        assert words in notes
    assert "MB of memory, this host has" in notes
    monkeypatch.setattr(mocksite, "has", lambda program: False)
    elsewhere = "\n".join(farm.builder.notes(request))  # what another host lacks is not known here
    assert "this host" not in elsewhere
    assert "isolation jail not used" in elsewhere
    farm.builder.cleanup(request.workdir, 0)


def test_preflight_names_what_is_missing(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mocksite, "has", lambda program: False)
    with pytest.raises(ToolError, match="mock is not installed: dnf install mock"):
        farm.builder.preflight()
    monkeypatch.setattr(mocksite, "has", lambda program: program == "mock")
    farm.builder.preflight()
    (farm.top / "mock").write_text("#!/bin/sh\necho 'ERROR: no way'\nexit 2\n")
    with pytest.raises(ToolError, match=r"mock does not start for .* \(exit code 2\): ERROR: no"):
        farm.builder.preflight()
    (farm.top / "etc" / f"{CHROOT}.cfg").unlink()
    with pytest.raises(ToolError, match="dnf install mock-core-configs"):
        farm.builder.preflight()
