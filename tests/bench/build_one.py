"""What `xargs` runs in part e: one package, with the builder that the daemon uses.

    python -m tests.bench.build_one CONFIG TOP [SRPM]

$SLOT is set by `xargs --process-slot-var`. Without a source package it does everything but
build: that is what starting this program costs.
"""

import os
import sys
import tempfile
from pathlib import Path

from backend.builders import BuildRequest
from backend.builders.plugin import load_builder
from backend.config import load


class Quiet:
    """A monitor that keeps the log in a file and never interrupts."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("ab", buffering=0)
        self._never = os.pipe()[0]

    def output(self, data: bytes) -> None:
        self._log.write(data)

    def wakeup_fd(self) -> int:
        return self._never

    def check(self) -> None:
        return


def main(config_file: str, top: str, srpm: str = "") -> None:
    """Build it, and keep the packages in a directory of their own, as the farm does."""
    config = load(Path(config_file))
    builder = load_builder(config)
    builder.preflight()
    if not srpm:
        return
    work = Path(tempfile.mkdtemp(dir=top))
    results = Path(tempfile.mkdtemp(dir=top))
    request = BuildRequest(
        srpm=Path(srpm),
        chroot=builder.chroots()[0],
        workdir=work,
        slot=int(os.environ["SLOT"]),
        timeout=600,
        stall_timeout=600,
        max_log=config.builder_max_log,
    )
    for artifact in builder.build(request, Quiet(results / "builder-live.log")):
        artifact.path.replace(results / artifact.package.filename)
    builder.cleanup(work, request.slot)


if __name__ == "__main__":
    main(*sys.argv[1:])
