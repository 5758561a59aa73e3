"""Part f: publishing one more build, beside `createrepo_c --update`, and many at once."""

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import repository
from backend.process import CLEAN_ENV, find
from backend.repo.states import known
from tests.bench import rpms
from tests.bench.daemon import load

#: Rounds that only warm up.
_WARM = 1


@dataclass(frozen=True, kw_only=True)
class Size:
    """Packages that the repositories have at first; so many builds are added one by one; into
    the last one so many more at once."""

    packages: tuple[int, ...]
    rounds: int
    at_once: int


def measure(top: Path, size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """Milliseconds; in each round a build is added to each repository by ours, then by
    createrepo_c."""
    before, stands = load(), []
    for number in size.packages:
        say(f"a repository of {number} packages")
        stands.append(_Stand(top, number))
    for number in range(size.rounds + _WARM):
        for stand in stands:
            stand.round(keep=number >= _WARM)
    say(f"{size.at_once} builds at once")
    rows = [stand.row() for stand in stands]
    first, last = stands[0].ours, stands[-1].ours
    growth = statistics.median(b / a for a, b in zip(first, last, strict=True))
    together = _at_once(stands[-1].repo, size.at_once)
    return {"rows": rows, "growth": growth, "at_once": together, "load": [before, load()]}


class _Stand:
    """One repository: the same packages for both, each with metadata of its own."""

    def __init__(self, top: Path, packages: int) -> None:
        self.packages, self.repo = packages, top / f"repo{packages}"
        self.ours: list[float] = []
        self.theirs: list[float] = []
        list(rpms.fill(self.repo, 1, packages))
        repository.publish(self.repo)
        other = top / f"other{packages}"
        other.mkdir()
        argv = [find("createrepo_c"), "--no-database", "--general-compress-type=gz"]
        _timed_run([*argv, f"--outputdir={other}", str(self.repo)])
        update = ["--update", f"--update-md-path={other}", f"--outputdir={other}"]
        self._argv = [*argv, *update, str(self.repo)]
        self._next = packages + 1

    def round(self, *, keep: bool) -> None:
        """Add a build."""
        (name,) = rpms.fill(self.repo, self._next, 1, success=False)
        self._next += 1
        begin = time.perf_counter()
        repository.publish(self.repo, build=name)
        seconds = time.perf_counter() - begin
        theirs = _timed_run(self._argv)
        if keep:
            self.ours.append(seconds * 1e3)
            self.theirs.append(theirs * 1e3)

    def row(self) -> dict[str, Any]:
        """The figures: medians of all rounds."""
        ratios = [b / a for a, b in zip(self.ours, self.theirs, strict=True)]
        return {
            "packages": self.packages,
            "ours_ms": statistics.median(self.ours),
            "ours_worst_ms": max(self.ours),
            "createrepo_ms": statistics.median(self.theirs),
            "ratio": statistics.median(ratios),
        }


def _timed_run(argv: Sequence[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True, env=CLEAN_ENV, timeout=600)
    return time.perf_counter() - begin


def _at_once(repo: Path, number: int) -> dict[str, Any]:
    """As many processes as builds, all of which publish when the first does."""
    names = list(rpms.fill(repo, 50_000_000, number, success=False))
    states = {state.number for state in known(repo)}
    gate, opener = os.pipe()
    children = [_publisher(repo, name, gate, opener) for name in names]
    os.close(gate)
    begin = time.perf_counter()
    os.close(opener)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    seconds = time.perf_counter() - begin
    missing = set(names) - repository.listed(repo)
    if any(codes) or missing:
        raise RuntimeError(f"publishers ended with {codes}; not listed: {sorted(missing)}")
    runs = len({state.number for state in known(repo)} - states)
    return {"builds": number, "seconds": seconds, "runs": runs}


def _publisher(repo: Path, name: str, gate: int, opener: int) -> int:
    """A process that publishes a build as soon as the gate is open."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.close(opener)
        os.read(gate, 1)  # the end of it
        repository.publish(repo, build=name)
        code = 0
    finally:
        os._exit(code)
