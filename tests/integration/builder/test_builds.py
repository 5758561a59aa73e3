"""The embedded builder with the real rpmbuild and bubblewrap, on tiny packages."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from backend.builders.sandbox import environment
from backend.builders.view import HOME
from backend.exceptions import BuildError, Canceled, Killed
from tests.integration.builder.tiny import Build, Watcher, source
from tests.procs import stat

pytestmark = pytest.mark.rpmbuild


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
                pid = int(name.parent.name)
                if name.read_bytes() == b"bwrap\n" and int(stat(pid)[1]) == os.getpid():
                    os.kill(pid, signal.SIGKILL)

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
