"""The embedded builder with the real rpmbuild and bubblewrap, on tiny packages."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from backend import config
from backend.builders import LOGS, Artifact, BuildRequest, Package, headers, rpmheader
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.builders.sandbox import environment
from backend.builders.view import HOME
from backend.exceptions import BuildError, Canceled, Killed

pytestmark = pytest.mark.rpmbuild

SPEC = """\
Name: tiny
Version: 1.0
Release: 1
Epoch: 2
Summary: Tiny
License: MIT
{tags}

%description
Tiny
%prep
%build
{build}
%install
mkdir -p %{{buildroot}}/usr/share/tiny
echo x >%{{buildroot}}/usr/share/tiny/x
{files}
"""
FILES = "%files\n/usr/share/tiny"


class Watcher:
    """A monitor that keeps the log and can cancel when a text was printed."""

    def __init__(self, cancel_at: bytes = b"") -> None:
        self.log = b""
        self.cancel_at = cancel_at
        self.read, self.write = os.pipe()

    def output(self, data: bytes) -> None:
        self.log += data
        if self.cancel_at and self.cancel_at in self.log:
            os.write(self.write, b"x")

    def wakeup_fd(self) -> int:
        return self.read

    def check(self) -> None:
        if self.cancel_at and self.cancel_at in self.log:
            raise Canceled("canceled")

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> RpmbuildBuilder:
    path = tmp_path_factory.mktemp("conf") / "copr-be.conf"
    path.write_text("[backend]\n[builder]\nmax_file=64M\n")
    made = RpmbuildBuilder(config.load(path))
    made.preflight()
    return made


def source(
    tmp_path: Path, build: str = ":", files: str = FILES, tags: str = "", define: str = ""
) -> Path:
    spec = tmp_path / "tiny.spec"
    spec.write_text(SPEC.format(build=build, files=files, tags=tags or "BuildArch: noarch"))
    top = tmp_path / "top"
    argv = ["rpmbuild", "-bs", "--nodeps", "--define", f"_topdir {top}"]
    argv += ["--define", f"_sourcedir {tmp_path}", *(["--define", define] if define else [])]
    subprocess.run([*argv, str(spec)], check=True, capture_output=True)
    return next((top / "SRPMS").iterdir())


Build = Callable[..., tuple[Artifact, ...]]


@pytest.fixture
def workdir(builder: RpmbuildBuilder, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "work"
    path.mkdir(mode=0o700)
    yield path
    builder.cleanup(path, 0)
    assert not path.exists()


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    yield made
    made.close()


@pytest.fixture
def build(builder: RpmbuildBuilder, workdir: Path, watcher: Watcher) -> Build:
    def run(
        srpm: Path, *, timeout: int = 60, stall: int = 60, max_log: int = 10**6
    ) -> tuple[Artifact, ...]:
        request = BuildRequest(
            srpm=srpm,
            chroot=builder.chroots()[0],
            workdir=workdir,
            slot=0,
            timeout=timeout,
            stall_timeout=stall,
            max_log=max_log,
        )
        return builder.build(request, watcher)

    return run


def test_green_build_gives_rpms_and_the_source(
    tmp_path: Path, build: Build, watcher: Watcher
) -> None:
    artifacts = build(source(tmp_path, tags="BuildArch: noarch\nBuildRequires: no-such-thing"))
    assert sorted(one.path.name for one in artifacts) == [
        "tiny-1.0-1.noarch.rpm",
        "tiny-1.0-1.src.rpm",
    ]
    assert {one.package.evr for one in artifacts} == {"2:1.0-1"}
    assert all(one.path.stat().st_uid == os.geteuid() for one in artifacts)
    assert b"not checked on this host: no-such-thing" in watcher.log


FEDORAS = """\
install -D -m 644 /dev/null %{buildroot}%{_unitdir}/tiny.service
mkdir -p %{buildroot}%{_mandir}/man1
echo .TH X 1 >%{buildroot}%{_mandir}/man1/tiny.1
%post
%systemd_post tiny.service
%ldconfig_scriptlets
%files
/usr/share/tiny
%{_unitdir}/tiny.service
%{_mandir}/man1/tiny.1.gz
"""


def test_specs_find_the_macros_and_the_shell_of_fedora(
    tmp_path: Path, build: Build, watcher: Watcher
) -> None:
    script = '%set_build_flags\necho "flags: $CFLAGS"; [ "$BASH_VERSION" ] && echo in bash'
    assert len(build(source(tmp_path, build=script, files=FEDORAS))) == 2
    assert b"\nflags: -" in watcher.log
    assert b"\nin bash\n" in watcher.log


def test_failed_build_names_the_section_and_the_log_ends_with_it(
    tmp_path: Path, build: Build, watcher: Watcher
) -> None:
    with pytest.raises(BuildError, match=r"Bad exit status from .* \(%build\)"):
        build(source(tmp_path, build="exit 3"))
    assert watcher.log.rstrip().endswith(b"(%build)")


def test_a_sandbox_that_somebody_kills_is_no_failure_of_the_package(
    tmp_path: Path, build: Build, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def output(data: bytes) -> None:
        for name in Path("/proc").glob("[0-9]*/comm") if b"NOW" in data else ():
            with contextlib.suppress(OSError):
                fields = (name.parent / "stat").read_text().rpartition(")")[2].split()
                if name.read_text() == "bwrap\n" and int(fields[1]) == os.getpid():
                    os.kill(int(name.parent.name), signal.SIGKILL)

    monkeypatch.setattr(watcher, "output", output)
    with pytest.raises(Killed, match="signal 9"):
        build(source(tmp_path, build="echo NOW; sleep 60"))


def test_other_architecture_is_explained(tmp_path: Path, build: Build) -> None:
    with pytest.raises(BuildError, match=r"Architecture is not included.*another chroot"):
        build(source(tmp_path, tags="ExclusiveArch: s390x"))


def test_no_rpm_is_a_failure(tmp_path: Path, build: Build, watcher: Watcher) -> None:
    with pytest.raises(BuildError, match="made no RPM"):
        build(source(tmp_path, files="rm -r %{buildroot}/usr"))
    assert watcher.log.splitlines()[-1].startswith(b"error: rpmbuild succeeded but made no RPM")


def test_limits_are_named(tmp_path: Path, build: Build, watcher: Watcher) -> None:
    stubborn = source(
        tmp_path, build="trap '' TERM INT\n(setsid tail -f /dev/null) &\nread x </dev/ptmx"
    )
    with pytest.raises(BuildError, match=r"no output for 1 s .stall_timeout."):
        build(stubborn, stall=1)
    with pytest.raises(BuildError, match=r"longer than 1 s .timeout."):
        build(stubborn, timeout=1)
    with pytest.raises(BuildError, match="max_log"):
        build(source(tmp_path, build="yes"), max_log=100_000)
    assert len(watcher.log) < 400_000


def test_cancel_ends_everything(tmp_path: Path, build: Build, watcher: Watcher) -> None:
    watcher.cancel_at = b"NOW-42\n"
    with pytest.raises(Canceled):
        build(source(tmp_path, build="echo NOW-$((40+2))\nread x </dev/ptmx"))


def test_the_build_sees_no_secrets_and_no_network(
    tmp_path: Path, build: Build, watcher: Watcher
) -> None:
    script = """
for f in /etc/shadow /etc/machine-id /etc/ssh /root/.bashrc TMP; do
  if [ -e $f ]; then echo "SEES $f"; fi; done
tr '\\0' '\\n' </proc/1/environ | sed 's/^/OUTER /'
for d in / /usr /etc /dev /in.src.rpm; do
  if (echo x >$d/pwned) 2>/dev/null; then echo "WRITES $d"; fi; done
echo "NET $(grep -c : /proc/net/dev)"; grep CapBnd /proc/self/status
id -u; mkdir -p /builddir/deep/locked; chmod 0 /builddir/deep
"""
    build(source(tmp_path, build=script.replace("TMP", str(tmp_path))))
    lines = watcher.log.decode().splitlines()
    assert not [line for line in lines if line.startswith(("SEES", "WRITES"))]
    outer = {line.removeprefix("OUTER ") for line in lines if line.startswith("OUTER ")}
    assert outer <= {f"{k}={v}" for k, v in {**environment(), "PWD": HOME}.items()}
    assert "NET 1" in lines  # loopback


def test_planted_results_are_refused(tmp_path: Path, build: Build) -> None:
    with pytest.raises(BuildError, match="refused result"):
        build(source(tmp_path, build="ln -s /etc/shadow %{_rpmdir}/x-1-1.noarch.rpm"))


def test_inspect(builder: RpmbuildBuilder, tmp_path: Path, workdir: Path) -> None:
    srpm = source(tmp_path, tags="ExclusiveArch: x86_64 s390x\nBuildArch: noarch")
    info = builder.inspect(srpm, workdir, 0)
    assert (info.package.filename, info.package.evr) == ("tiny-1.0-1.src.rpm", "2:1.0-1")
    assert info.spec == (tmp_path / "tiny.spec").read_bytes()
    assert (info.spec_name, info.exclusivearch) == ("tiny.spec", ("x86_64", "s390x"))
    assert info.buildarch == ("noarch",)


@pytest.mark.parametrize(
    ("tags", "define"),
    [
        ("ExcludeArch: s390x ppc64le\nURL: http://x", ""),
        ("Source0: absent.tar\nNoSource: 0", ""),
        ("", "_source_payload w9.gzdio"),
        ("", "_source_payload w7.xzdio"),
        ("", "_source_payload w.ufdio"),
        ("", "_source_filedigest_algorithm 1"),
    ],
)
def test_what_is_read_here_is_what_rpm_reads(
    builder: RpmbuildBuilder,
    tmp_path: Path,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    tags: str,
    define: str,
) -> None:
    (tmp_path / "absent.tar").touch()
    srpm = source(tmp_path, tags=tags, define=define)
    assert headers._known(srpm)
    ours = builder.inspect(srpm, workdir, 0)
    builder.cleanup(workdir, 0)
    workdir.mkdir(mode=0o700)
    monkeypatch.setattr(headers, "_known", lambda _copy: None)
    assert builder.inspect(srpm, workdir, 0) == ours


def test_inspect_refuses_what_is_no_source_package(
    builder: RpmbuildBuilder, tmp_path: Path, workdir: Path
) -> None:
    data = source(tmp_path).read_bytes()
    bad = tmp_path / "bad.src.rpm"
    for content, message in (
        (b"<html>404</html>", "is not an RPM package"),
        (b"", "is not an RPM package"),
        (data[:200], "damaged or truncated"),
        (data[:-20], "damaged or truncated"),
        (data[:-20] + bytes(20), "damaged or truncated"),
    ):
        bad.write_bytes(content)
        with pytest.raises(BuildError, match=message):
            builder.inspect(bad, workdir, 0)


def test_inspect_refuses_a_binary_package(
    builder: RpmbuildBuilder, tmp_path: Path, build: Build, workdir: Path
) -> None:
    binary = next(one.path for one in build(source(tmp_path)) if one.package.arch == "noarch")
    with pytest.raises(BuildError, match="is a binary RPM"):
        builder.inspect(binary, workdir, 0)


def test_daemons_left_behind_are_dead_before_results_are_read(
    tmp_path: Path, build: Build, watcher: Watcher
) -> None:
    mark = f"left-{os.getpid()}"
    daemon = f"setsid bash -c 'exec -a {mark} tail -f /dev/null' >/dev/null 2>&1 &"
    build(source(tmp_path, build=daemon))
    running = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            running.append(cmdline.read_bytes().split(b"\0")[0])
    assert mark.encode() not in running


def test_a_known_source_package_is_not_read_again(
    tmp_path: Path,
    builder: RpmbuildBuilder,
    workdir: Path,
    watcher: Watcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    srpm = source(tmp_path)
    package = Package(name="tiny", epoch=2, version="1.0", release="1", arch="src")
    monkeypatch.setattr(headers, "inspect", None)  # to call it would fail
    request = BuildRequest(
        srpm=srpm,
        chroot=builder.chroots()[0],
        workdir=workdir,
        slot=0,
        timeout=60,
        stall_timeout=60,
        max_log=10**6,
        source=package,
    )
    artifacts = builder.build(request, watcher)
    assert artifacts[-1].package == package
    assert artifacts[-1].path.name == "tiny-1.0-1.src.rpm"


NOISY = "date +%s.%N; cat /proc/sys/kernel/random/uuid"
CHANGES = "%changelog\n* Thu Jan 02 2020 A <a@b.example> - 1.0-1\n- One\n"


def _digests(artifacts: tuple[Artifact, ...]) -> dict[str, str]:
    return {one.path.name: sha256(one.path.read_bytes()).hexdigest() for one in artifacts}


@pytest.mark.parametrize(("changes", "time"), [(CHANGES, 1577923200), ("", None)])
def test_the_same_source_gives_the_same_rpms(
    builder: RpmbuildBuilder, tmp_path: Path, changes: str, time: int | None, watcher: Watcher
) -> None:
    srpm = source(
        tmp_path, build=f"echo {os.urandom(8).hex()}; {NOISY}", files=FILES + f"\n{changes}"
    )
    seen = []
    for number in (1, 2):
        work = tmp_path / f"work{number}"
        work.mkdir(mode=0o700)
        artifacts = builder.build(_request(builder, srpm, work), watcher)
        seen.append(_digests(artifacts))
        header = rpmheader.read(artifacts[0].path)
        assert header.numbers(rpmheader.BUILDTIME) == [time or _made(srpm)]
        assert header.text(1007) == "copr-backend"  # BUILDHOST
        assert max(header.numbers(1034)) <= (time or _made(srpm))  # FILEMTIMES
        builder.cleanup(work, number)
    assert seen[0] == seen[1]
    assert len(seen[0]) == 2


def test_reproducible_builds_can_be_switched_off(
    builder: RpmbuildBuilder, tmp_path: Path, workdir: Path, watcher: Watcher
) -> None:
    srpm = source(tmp_path, files=f"{FILES}\n{CHANGES}")
    request = replace(_request(builder, srpm, workdir), reproducible=False)
    header = rpmheader.read(builder.build(request, watcher)[0].path)
    assert header.numbers(rpmheader.BUILDTIME)[0] > 1577923200
    assert b"SOURCE_DATE_EPOCH" not in watcher.log


def _made(srpm: Path) -> int:
    return rpmheader.read(srpm).numbers(rpmheader.BUILDTIME)[0]


def _request(builder: RpmbuildBuilder, srpm: Path, workdir: Path) -> BuildRequest:
    return BuildRequest(
        srpm=srpm,
        chroot=builder.chroots()[0],
        workdir=workdir,
        slot=0,
        timeout=60,
        stall_timeout=60,
        max_log=10**6,
    )


def test_the_packages_that_a_build_finds_are_listed(
    builder: RpmbuildBuilder, tmp_path: Path, workdir: Path, watcher: Watcher
) -> None:
    builder.build(_request(builder, source(tmp_path), workdir), watcher)
    lines = (workdir / LOGS / "installed_pkgs.log").read_text().splitlines()
    assert lines == sorted(lines)
    assert all(re.fullmatch(r"\S+ \S+ \d+ \S+ installed", line) for line in lines)
    assert [line for line in lines if re.match(r"bash[-_]\d", line)]
