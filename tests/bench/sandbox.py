"""What the sandbox costs: the same package by plain rpmbuild and by the builder, in turn.

    python -m tests.bench.sandbox [ROUNDS [SOURCE_PACKAGE…]]

Both start from a source package whose identity is known, and end when the RPMs are there and the
work directory is gone. `macros` is off, so that both run the very same scripts.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backend import config
from backend.builders import BuildRequest, Package
from backend.builders.rpmbuild import RpmbuildBuilder
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


def compare(builder: RpmbuildBuilder, srpm: Path, top: Path, rounds: int) -> None:
    """Print one line of figures."""
    read = top / "read"
    read.mkdir(mode=0o700)
    source = builder.inspect(srpm, read, 0).package
    builder.cleanup(read, 0)
    one: list[tuple[float, float]] = []
    other: list[tuple[float, float]] = []
    for number in range(rounds):
        one.append(measured(lambda: plain(srpm, top / "plain")))
        other.append(measured(lambda n=number: boxed(builder, srpm, top / f"w{n}", source)))  # type: ignore[misc]
    figures = []
    for index in (0, 1):
        a, b = [x[index] for x in one], [x[index] for x in other]
        figures += [statistics.median(a), statistics.median(b), min(b) - min(a)]
    words = [f"{value * 1000:7.0f}" for value in figures]
    print(f"{srpm.name:34} {' '.join(words)}")


def main() -> None:
    """A table, in milliseconds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="sandbox-") as name:
        top = Path(name)
        path = top / "copr-be.conf"
        path.write_text(f"[backend]\nstatedir={top}/state\n[builder]\nmacros=no\n")
        builder = RpmbuildBuilder(config.load(path))
        builder.preflight()
        print(builder.describe())
        print("ms, medians, and between the best  | clock: plain, boxed, more | CPU: the same")
        packages = [Path(arg) for arg in sys.argv[2:]] or [make_srpm(top, "hello")]
        for srpm in packages:
            compare(builder, srpm, top, rounds)


if __name__ == "__main__":
    main()
