"""What tests of hosts share: a configuration, a request, and a monitor, without any ssh."""

import sys
from pathlib import Path

from backend.builders import BuildRequest
from backend.chroot import Chroot
from backend.config import Config, load
from tests.unit.stub_builder import PACKAGE


class Quiet:
    """A Monitor that only remembers."""

    def __init__(self) -> None:
        self.log = b""

    def output(self, data: bytes) -> None:
        self.log += data

    def wakeup_fd(self) -> int:
        return -1

    def check(self) -> None:
        pass


def config(top: Path, **hosts: object) -> Config:
    path = top / "copr-be.conf"
    values = {"python": sys.executable, "directory": top / "host", **hosts}
    lines = "".join(f"{key} = {value}\n" for key, value in values.items())
    path.write_text(
        f"[backend]\nstatedir = {top}/state\nrundir = {top}/run\n[hosts]\n{lines}"
        "[builder]\ntype = tests.unit.stub_builder:StubBuilder\n"
    )
    return load(path)


def request(top: Path, text: str) -> BuildRequest:
    srpm, workdir = top / "stub-1-1.src.rpm", top / "work"
    srpm.write_text(text)
    workdir.mkdir(exist_ok=True)
    return BuildRequest(
        srpm=srpm,
        chroot=Chroot.parse("stub-1-noarch"),
        workdir=workdir,
        slot=0,
        timeout=60,
        stall_timeout=60,
        max_log=10_000,
        source=PACKAGE,
    )
