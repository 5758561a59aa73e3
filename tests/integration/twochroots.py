"""A builder with two chroots for tests of what needs none: whatever is built with it fails."""

import shutil
from pathlib import Path

from backend.builders import Artifact, BuildRequest, Monitor, SourceInfo
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import BuildError

NAMES = ("other-1-x86_64", "other-2-x86_64")


class TwoChroots:
    """See `Builder`."""

    def __init__(self, config: Config) -> None:
        """Needs nothing."""

    def preflight(self) -> None:
        """Needs nothing."""

    def chroots(self) -> tuple[Chroot, ...]:
        return tuple(map(Chroot.parse, NAMES))

    def inspect(self, srpm: Path, workdir: Path, slot: int) -> SourceInfo:
        raise BuildError("nothing is built here")

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        raise BuildError("nothing is built here")

    def cleanup(self, workdir: Path, slot: int) -> None:
        shutil.rmtree(workdir)
