"""What the sandbox costs: the same package by plain rpmbuild, by the very same command in the
sandbox, and by the builder as a worker uses it, in turn.

    python -m tests.bench.sandbox [ROUNDS [SOURCE_PACKAGE…]]

All start from a source package whose identity is known, and end when the RPMs are there and the
work directory is gone. `macros` is off, so that all run the very same scripts.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backend.builders import BuildRequest, Package, tidy
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.builders.sandbox import Area, Sandbox
from backend.builders.view import HOME
from backend.config import Config, load
from tests.hostile.arena import Log
from tests.integration.farm import make_srpm


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU in this process and its children."""

    def used() -> float:
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in both)

    began, cpu = time.perf_counter(), used()
    work()
    return time.perf_counter() - began, used() - cpu


def plain(srpm: Path, top: Path) -> None:
    """Without anything around it."""
    argv = ["rpmbuild", "--rebuild", "--nodeps", "--define", f"_topdir {top}", str(srpm)]
    subprocess.run(argv, check=True, capture_output=True)
    subprocess.run(["rm", "-r", str(top)], check=True)


def inside(config: Config, srpm: Path, work: Path) -> None:
    """The same command in the sandbox, with all that makes and removes one."""
    work.mkdir(mode=0o700)
    area = Area.make(config, work, 0)
    shutil.copyfile(srpm, area.path / "in.src.rpm")
    (area.path / "in.src.rpm").chmod(0o644)
    argv = ["rpmbuild", "--rebuild", "--nodeps", "--define", f"_topdir {HOME}/rpmbuild"]
    binds = ["--ro-bind", "{}/in.src.rpm", "/in.src.rpm"]
    # As in a build, a shell is the first process: it reaps what others leave.
    shell = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *argv, "/in.src.rpm"]
    with Sandbox(config).command(area, shell, binds=binds) as command:
        assert command.run(600).code == 0
    tidy.remove(config, Sandbox(config), work, 0)


def boxed(builder: RpmbuildBuilder, srpm: Path, work: Path, source: Package) -> None:
    """A whole build as a worker does it."""
    work.mkdir(mode=0o700)
    log = Log()
    request = BuildRequest(
        srpm=srpm,
        chroot=builder.chroots()[0],
        workdir=work,
        slot=0,
        timeout=3600,
        stall_timeout=3600,
        max_log=10**9,
        source=source,
    )
    builder.build(request, log)
    builder.cleanup(work, 0)
    log.close()


def compare(config: Config, builder: RpmbuildBuilder, srpm: Path, top: Path, rounds: int) -> None:
    """Print one line of figures."""
    work = config.statedir / "work/0"  # as builds have it
    read = work / "read"
    read.mkdir(mode=0o700, parents=True)
    source = builder.inspect(srpm, read, 0).package
    builder.cleanup(read, 0)
    ways: list[Callable[[], None]] = [
        lambda: plain(srpm, top / "plain"),
        lambda: inside(config, srpm, work / "inside"),
        lambda: boxed(builder, srpm, work / "boxed", source),
    ]
    found = [[measured(way) for way in ways] for _ in range(rounds)]
    words = []
    for kind in (0, 1):  # clock, CPU
        first, *others = ([one[way][kind] * 1000 for one in found] for way in range(len(ways)))
        words.append(f"{statistics.median(first):6.0f}")
        for times in others:
            more = statistics.median(times) - statistics.median(first)
            words.append(f"{more:+5.0f} ({min(times) - min(first):+.0f})")
    print(f"{srpm.name:30} {' '.join(words)}")


def main() -> None:
    """A table, in milliseconds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    place = os.environ.get("TMPDIR", "/var/tmp")
    with tempfile.TemporaryDirectory(dir=place, prefix="sandbox-") as name:
        top = Path(name)
        path = top / "copr-be.conf"
        path.write_text(f"[backend]\nstatedir={top}/state\n[builder]\nmacros=no\n")
        options = load(path)
        builder = RpmbuildBuilder(options)
        builder.preflight()
        print(builder.describe())
        print("ms: clock of plain rpmbuild, more in the sandbox, more as a worker builds, by the")
        print("medians (and by the best); then the same of CPU")
        packages = [Path(arg) for arg in sys.argv[2:]] or [make_srpm(top, "hello")]
        for srpm in packages:
            compare(options, builder, srpm, top, rounds)


if __name__ == "__main__":
    main()
