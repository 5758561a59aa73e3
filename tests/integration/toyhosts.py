"""Hosts that exist only as directories, for tests of pools: each does what its files say.

`<statedir>/toys/<name>/`: without the directory nobody answers; with `down` neither; `fault`
spoils builds through the host's fault; `hold` keeps them running; `chroot` has the name of the
only one that it builds for. `journal` has what was built. `is` names another toy, of which it is
a second name.
"""

import fcntl
import os
import platform
import select
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend.builders import Artifact, BuildRequest, Monitor, Package, SourceInfo
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import HostError


class ToyBuilder:
    """Builds nothing, of packages whose file name says it all. See `Builder`."""

    def __init__(self, config: Config) -> None:
        self.toys = config.statedir / "toys"

    def preflight(self) -> None:
        """Needs nothing."""

    def chroots(self) -> tuple[Chroot, ...]:
        return (Chroot(os="toy", version="1", arch=platform.machine()),)

    def inspect(self, srpm: Path, workdir: Path, slot: int) -> SourceInfo:
        name, version, _ = srpm.name.rsplit("-", 2)
        package = Package(name=name, epoch=None, version=version, release="1", arch="src")
        return SourceInfo(package=package, spec_name=f"{name}.spec", spec=b"Name: toy\n")

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        monitor.output(b"built here\n")
        return ()

    def cleanup(self, workdir: Path, slot: int) -> None:
        shutil.rmtree(workdir)


class ToyHost(ToyBuilder):
    """The same on a host."""

    def __init__(self, address: str, config: Config) -> None:
        super().__init__(config)
        self.address = address
        self.place = self.toys / address.rpartition("@")[2].rpartition("/")[2]
        if (self.place / "is").exists():
            self.place = self.toys / (self.place / "is").read_text()

    def chroots(self) -> tuple[Chroot, ...]:
        other = self.place / "chroot"
        return (Chroot.parse(other.read_text()),) if other.exists() else super().chroots()

    def ping(self) -> None:
        if not self.place.is_dir() or (self.place / "down").exists():
            raise HostError(f"host {self.address}: connection refused")

    def claim(self, name: str, others: Sequence[str]) -> str:
        fd = os.open(self.place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # two checks at once must not both be the first
            noted = self.place / "name"
            known = noted.read_text() if noted.exists() else ""
            if known not in others:
                noted.write_text(known := name)
            return known
        finally:
            os.close(fd)

    def close(self) -> None:
        """There is nothing to close."""

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        project = request.srpm.parents[2].name
        self._note(f"begin {project}")
        while (self.place / "hold").exists():
            select.select([monitor.wakeup_fd()], [], [], 0.02)
            monitor.check()
            self.ping()
        if (self.place / "fault").exists():
            raise HostError(f"host {self.address}: its disk is broken")
        self._note(f"end {project}")
        monitor.output(b"built there\n")
        return ()

    def _note(self, line: str) -> None:
        with (self.place / "journal").open("a") as file:
            file.write(line + "\n")


def connect(address: str, config: Config, _limit: int) -> Any:
    """For `[hosts] transport`."""
    return ToyHost(address, config)
