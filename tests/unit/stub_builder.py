"""A builder that does what the source package says, line by line; shipped to hosts by tests."""

import os
import select
import signal
from pathlib import Path
from typing import Any

from backend.builders import Artifact, BuildRequest, Monitor, Package, SourceInfo
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import BuildError, InfrastructureError, ToolError

PACKAGE = Package(name="stub", epoch=None, version="1", release="1", arch="noarch")


class StubBuilder:
    def __init__(self, config: Config) -> None:
        self.unfit = config.builder_chroot.startswith("unfit")

    def preflight(self) -> None:
        if self.unfit:
            raise ToolError("rpmbuild is not installed: apt-get install rpm")

    def chroots(self) -> tuple[Chroot, ...]:
        return (Chroot.parse("stub-1-noarch"),)

    def inspect(self, srpm: Path, workdir: Path, slot: int) -> SourceInfo:
        raise NotImplementedError

    def cleanup(self, workdir: Path, slot: int) -> None:
        for path in workdir.iterdir():
            path.unlink()
        workdir.rmdir()

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        for line in request.srpm.read_text().splitlines():
            word, _, rest = line.partition(" ")
            getattr(self, f"_{word}")(rest, monitor)
        path = request.workdir / PACKAGE.filename
        path.write_bytes(b"no RPM")
        return (Artifact(path=path, package=PACKAGE),)

    def _print(self, text: str, monitor: Monitor) -> None:
        monitor.output(text.encode() + b"\n")

    def _wait(self, _: str, monitor: Monitor) -> None:
        while True:
            select.select([monitor.wakeup_fd()], [], [], 2)
            monitor.check()

    def _sleep(self, _: str, monitor: Monitor) -> None:
        while True:
            signal.pause()

    def _fail(self, text: str, _: Any) -> None:
        raise BuildError(text)

    def _farm(self, text: str, _: Any) -> None:
        raise InfrastructureError(text)

    def _bug(self, text: str, _: Any) -> None:
        raise ValueError(text)

    def _die(self, _: str, __: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
