"""A tiny package, and who watches its build."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.builders import Artifact, BuildRequest
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.exceptions import Canceled

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


def request_of(builder: RpmbuildBuilder, srpm: Path, workdir: Path, **more: Any) -> BuildRequest:
    """One with limits that no test reaches by itself, and with what `more` says."""
    limits = {"timeout": 60, "stall_timeout": 60, "max_log": 10**6}
    return BuildRequest(
        srpm=srpm, chroot=builder.chroots()[0], workdir=workdir, slot=0, **{**limits, **more}
    )
