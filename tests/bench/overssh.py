"""What SSH adds to a build: the same package here and over a real sshd on loopback, in turn.

python -m tests.bench.overssh [--rounds 40]
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from backend.builders import BuildRequest
from backend.config import load
from backend.hosts import HostBuilder, connect
from tests.integration import sshd
from tests.integration.farm import make_srpm
from tests.unit.hosts import Quiet

#: Rounds that only warm up.
WARM = 3


class Deaf(Quiet):
    """A Monitor with a descriptor, at which nothing ever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = os.pipe()

    def wakeup_fd(self) -> int:
        return self.ends[0]

    def close(self) -> None:
        for fd in self.ends:
            os.close(fd)


def once(builder: HostBuilder, srpm: Path, workdir: Path) -> float:
    """Seconds of one build, its source package known as after an import."""
    workdir.mkdir(mode=0o700)
    source = builder.inspect(srpm, workdir, 0).package
    request = BuildRequest(
        srpm=srpm,
        chroot=builder.chroots()[0],
        workdir=workdir,
        slot=0,
        timeout=60,
        stall_timeout=60,
        max_log=10**6,
        source=source,
    )
    with contextlib.closing(Deaf()) as monitor:
        begin = time.monotonic()
        builder.build(request, monitor)
        seconds = time.monotonic() - begin
    builder.cleanup(workdir, 0)
    return seconds


def measure(top: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each build, by where it ran; each connection is warm."""
    srpm = make_srpm(top / "src", "hello")
    found: dict[str, list[float]] = {}
    with sshd.hosts(top / "hosts", 1) as (host,):
        conf = top / "copr-be.conf"
        conf.write_text(
            f"[backend]\nstatedir = {top}/state\nrundir = {top}/run\n[hosts]\n"
            f"identity = {top}/hosts/id\nknown_hosts = {top}/hosts/known_hosts\n"
        )
        config = load(conf)
        builders = {name: connect(name, config) for name in ("local", host.address)}
        try:
            for number in range(rounds + WARM):
                for name, builder in builders.items():
                    kind = "local" if name == "local" else "ssh"
                    seconds = once(builder, srpm, top / f"{kind}{number}")
                    if number >= WARM:
                        found.setdefault(kind, []).append(seconds)
        finally:
            for builder in builders.values():
                builder.close()
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.overssh", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args(argv)
    where = os.environ.get("TMPDIR", "/var/tmp")
    with tempfile.TemporaryDirectory(prefix="copr-ssh-", dir=where) as top:
        found = measure(Path(top), args.rounds)
    median = {name: statistics.median(seconds) * 1e3 for name, seconds in found.items()}
    more = median["ssh"] - median["local"]
    print(f"local {median['local']:.0f} ms, ssh {median['ssh']:.0f} ms: {more:+.0f} ms a build")
    return 0


if __name__ == "__main__":
    sys.exit(main())
