"""One run: a repository, publishers who are killed, readers, and the verdict."""

import http.server
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backend import repository, repository_repair
from backend.repository import Manners
from tests import metadata
from tests.bench import rpms
from tests.integration.repositories import hidden
from tests.readers.reader import Reader
from tests.serving import served

ROOT = Path(__file__).parents[2]
PUBLISHERS = 3
#: Changes of the disk during one publish, more or less.
_MOMENTS = 40


@dataclass
class Outcome:
    """What a run did, and what was wrong."""

    violations: list[str] = field(default_factory=list)
    deeds: Counter[str] = field(default_factory=Counter)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def _served(directory: Path) -> Iterator[str]:
    def handler(*args: object) -> _Quiet:
        return _Quiet(*args, directory=str(directory))  # type: ignore[arg-type]

    with served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"


class _Publishers:
    """They share a repository; what each of them was told is remembered."""

    def __init__(self, repo: Path, seed: int, outcome: Outcome) -> None:
        self._repo, self._random, self._outcome = repo, random.Random(seed), outcome
        self._lock = threading.Lock()
        self._next = 10_000_000
        #: Builds that must be listed, and must not, for sure.
        self.added: set[str] = set()
        self.dropped: set[str] = set()

    def work(self, times: int) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "tests.readers.publisher", str(self._repo)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdin
            assert process.stdout
            for number in range(times):
                what, build, left = self._choose()
                if number == 0:
                    left = 2  # so early that nobody else can have done it before
                process.stdin.write(f"{what} {build} {left}\n")
                process.stdin.flush()
                self._note(what, build, int(process.stdout.readline()))
            process.stdin.close()

    def _choose(self) -> tuple[str, str, int]:
        with self._lock:
            what = self._random.choice(("add", "add", "add", "drop", "all"))
            left = self._random.randrange(_MOMENTS) if self._random.random() < 0.4 else -1
            if what == "drop" and self.added:
                build = self._random.choice(sorted(self.added))
                self.added.discard(build)
                return what, build, left
            (build,) = rpms.fill(self._repo, self._next, 1, success=False)
            self._next += 1
            return "all" if what == "all" else "add", build, left

    def _note(self, what: str, build: str, code: int) -> None:
        with self._lock:
            self._outcome.deeds["killed" if code == -9 else what] += 1
            if code not in (0, -9):
                self._outcome.violations.append(f"{what} {build}: exit code {code}")
            if code == 0 and what == "add":
                self.added.add(build)
            if code == 0 and what == "drop":
                self.dropped.add(build)


def run(top: Path, *, publishes: int, packages: int, seed: int, dnf: str | None = None) -> Outcome:
    """Readers read all the time while `publishes` builds come and go."""
    outcome, repo, over = Outcome(), top / "repo", threading.Event()
    list(rpms.fill(repo, 1, packages))
    repository.publish(repo)
    publishers = _Publishers(repo, seed, outcome)

    def loop(name: str, once: Callable[[], Iterable[str]]) -> None:
        while True:
            last = over.is_set()
            outcome.violations += [f"{name}: {line}" for line in once()]
            outcome.deeds[name] += 1
            if last:
                return

    with _served(repo) as url, ThreadPoolExecutor() as pool:
        reading = [pool.submit(loop, "read", Reader(url, number).read) for number in (1, 2)]
        if dnf:
            reading.append(pool.submit(loop, "dnf", lambda: _makecache(dnf, url, top)))
        share = -(-publishes // PUBLISHERS)
        writing = [pool.submit(publishers.work, share) for _ in range(PUBLISHERS)]
        try:
            for future in writing:
                future.result()
        finally:
            over.set()
        for future in reading:
            future.result()
    _verify(repo, top, publishers, outcome)
    return outcome


def _makecache(dnf: str, url: str, top: Path) -> list[str]:
    """A fresh cache each time: everything is downloaded and checked."""
    argv = [
        dnf, "-q", f"--repofrompath=x,{url}", "--repo=x", "--nogpgcheck", "--releasever=1",
        f"--setopt=cachedir={top}/cache", "--setopt=reposdir=/dev/null", "--refresh",
        f"--installroot={top}/root", f"--setopt=logdir={top}", "--setopt=zchunk=0",
        "--setopt=retries=1", "makecache",
    ]  # fmt: skip
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300)
    return [] if done.returncode == 0 else [f"{done.returncode}: {done.stderr.strip()[-500:]}"]


def _verify(repo: Path, top: Path, publishers: _Publishers, outcome: Outcome) -> None:
    """After a last publish, which clears what the killed have left."""
    repository.publish(repo)
    listed = repository.listed(repo)
    marked = {path.parent.name for path in repo.glob("*/success")}
    outcome.violations += [f"{name} is lost" for name in sorted(publishers.added - listed)]
    outcome.violations += [f"{name} stayed" for name in sorted(publishers.dropped & listed)]
    outcome.violations += [f"{name}: mark or metadata" for name in sorted(marked ^ listed)]
    outcome.violations += [f"left: {path}" for path in hidden(repo)]
    outcome.violations += repository_repair.problems(repo, manners=Manners())
    work = top / "work"
    work.mkdir()
    names = {os.fsdecode(name) for name in listed}
    unlisted = [path for path in repo.glob("*/*.rpm") if path.parent.name not in names]
    for path in unlisted:
        path.unlink()
    outcome.violations += list(metadata.compare(repo, work))
