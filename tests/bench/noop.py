"""A builder that builds nothing: what is left is the backend itself."""

import platform
import re
import shutil
from pathlib import Path

from backend.builders import Artifact, BuildRequest, Monitor, Package, SourceInfo
from backend.chroot import Chroot
from backend.config import Config
from tests.bench.note import note

#: What the package of a URL must be called, so that its number is known again.
FILE_NAME = "noop-{number}-1.src.rpm"
_FILE_NAME = re.compile(r"noop-(\d+)-1\.src\.rpm")


def _number(path: Path) -> int:
    match = _FILE_NAME.fullmatch(path.name)
    assert match, f"{path.name} is no {FILE_NAME}"
    return int(match.group(1))


class NoopBuilder:
    """Notes that it was called, and returns at once. See `Builder` for the contract."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def preflight(self) -> None:
        """Needs nothing."""

    def chroots(self) -> tuple[Chroot, ...]:
        """A chroot that nobody else has."""
        return (Chroot(os="noop", version="1", arch=platform.machine()),)

    def inspect(self, srpm: Path, workdir: Path, slot: int) -> SourceInfo:
        """Take the file's name for its header."""
        number = _number(srpm)
        note("source", number)
        package = Package(name="noop", epoch=None, version=str(number), release="1", arch="src")
        return SourceInfo(package=package, spec_name="noop.spec", spec=b"Name: noop\n")

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        """No RPM at all."""
        note("rpm", _number(request.srpm))
        return ()

    def cleanup(self, workdir: Path, slot: int) -> None:
        """There is nothing in it that anybody but us could have made."""
        shutil.rmtree(workdir)
