"""Roots and layers for real: debootstrap, dnf, a small repository. Minutes, so only when asked:

COPR_TEST_ROOTS=1 .venv/bin/pytest -v tests/integration/test_roots_real.py     (as root)
"""

import dataclasses
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backend import config
from backend.builders import BuildRequest, Buildroot, rootmake, roots
from backend.builders.rootmake import Order
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.exceptions import BuildError, Killed
from tests.hostile.arena import Log

pytestmark = [
    pytest.mark.rpmbuild,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not os.environ.get("COPR_TEST_ROOTS") or os.geteuid() != 0,
        reason="takes minutes: COPR_TEST_ROOTS=1, as root",
    ),
]

HEAD = "Name: {}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n"
SYSTEM = HEAD.format("system") + "Provides: make /bin/sh rpm-build\n%description\nx\n%files\n"
LIBRARY = (
    HEAD.format("libfoo-devel")
    + """Provides: pkgconfig(foo) = 2.1
%description
x
%install
mkdir -p %{buildroot}/usr/include
echo '#define FOO 42' >%{buildroot}/usr/include/foo.h
echo x >%{buildroot}/usr/include/mail.h
%post
echo "post ran as $(id -u)" >/usr/include/post.h
(exec 3<>/dev/tcp/127.0.0.1/PORT) 2>/dev/null && echo NETWORK >>/usr/include/post.h
exit 0
%files
/usr/include/foo.h
%attr(640,root,mail) /usr/include/mail.h
"""
)
APP = (
    HEAD.format("app")
    + """BuildRequires: {} make
%description
x
%build
cat /usr/include/foo.h /usr/include/post.h
(echo x >/usr/include/foo.h) 2>/dev/null || echo CLOSED
%files
"""
)


def rpm(top: Path, name: str, spec: str, how: str) -> Path:
    path = top / f"{name}.spec"
    path.write_text(spec)
    define = ["--define", f"_topdir {top}", "--define", "_binary_payload w1.gzdio"]
    argv = ["rpmbuild", how, "--nodeps", *define, str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return next(top.glob(f"*RPMS/**/{name}-1-1.*.rpm"))


@dataclasses.dataclass
class Site:
    builder: RpmbuildBuilder
    top: Path
    port: int

    def build(self, needs: str, port: int) -> bytes:
        """The log of a build; raises what it ends with."""
        srpm = rpm(self.top, "app", APP.format(needs), "-bs")
        log = Log()
        with tempfile.TemporaryDirectory(dir=self.top) as name:
            work = Path(name, "work")
            work.mkdir(mode=0o700)
            repo = {"id": "copr_base", "name": "x", "baseurl": f"http://127.0.0.1:{port}/"}
            request = BuildRequest(
                srpm=srpm,
                chroot=self.builder.chroots()[0],
                workdir=work,
                slot=0,
                timeout=600,
                stall_timeout=600,
                max_log=10**7,
                buildroot=Buildroot(repos=(repo,)),
            )
            try:
                self.builder.build(request, log)
            finally:
                self.builder.cleanup(work, 0)
                log.close()
        return log.data


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="roots-") as name:
        top = Path(name)
        path = top / "copr-be.conf"
        path.write_text(f"[backend]\nstatedir={top}/state\n[builder]\nchroot=debian-12-x86_64\n")
        made = config.load(path)
        packages = ("dnf", "dnf-plugins-core")
        tree = rootmake.make(made, "debian-12-x86_64", Order(packages=packages))
        (tree / "etc/rpm").mkdir(exist_ok=True)
        (tree / "etc/rpm/macros").write_text("%_dbpath /var/lib/rpm\n")
        with (tree / "root/system.rpm").open("wb") as file:
            file.write(rpm(top, "system", SYSTEM, "-bb").read_bytes())
        subprocess.run(["chroot", tree, "rpm", "-i", "--nodeps", "/root/system.rpm"], check=True)
        rootmake._shift(tree)
        (top / "repo").mkdir()
        handler = partial(SimpleHTTPRequestHandler, directory=str(top / "repo"))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            port = server.server_address[1]
            library = rpm(top, "libfoo-devel", LIBRARY.replace("PORT", str(port)), "-bb")
            library.rename(top / "repo" / library.name)
            subprocess.run(["createrepo_c", "-q", top / "repo"], check=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            builder = RpmbuildBuilder(made)
            builder.preflight()
            yield Site(builder, top, port)
            server.shutdown()
        assert rootmake.remove(made, "debian-12-x86_64") == []
        assert roots.made(made) == {}


def test_what_is_needed_is_installed_once(site: Site) -> None:
    first = site.build("pkgconfig(foo) >= 2", site.port)
    assert b"Dependencies, install" in first
    assert b"#define FOO 42\npost ran as 0\nCLOSED" in b"".join(
        line + b"\n" for line in first.split(b"\n") if not line.startswith(b"+")
    )
    assert b"NETWORK" not in first
    second = site.build("pkgconfig(foo) >= 2", site.port)
    assert b"Dependencies" not in second
    assert b"#define FOO 42" in second
    assert not list((site.top / "state/layers").glob("new-*"))


def test_what_cannot_be_had_fails_the_build(site: Site) -> None:
    with pytest.raises(BuildError, match=r"dependencies: .*pkgconfig\(nosuch\)"):
        site.build("pkgconfig(nosuch)", site.port)


def test_a_repository_that_is_away_is_no_failure_of_the_package(site: Site) -> None:
    with pytest.raises(Killed, match="a repository is away"):
        site.build("pkgconfig(foo)", 1)
