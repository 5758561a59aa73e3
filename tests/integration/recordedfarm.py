"""A real daemon beside a recorded Copr frontend, and what they say of builds."""

import contextlib
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.frontend.distgit import DistGit
from tests.frontend.server import (
    PASSWORD,
    RecordedFrontend,
    recorded,
)
from tests.frontend.values import Build
from tests.integration.farm import Farm

DEBIAN, FEDORA = "debian-12-x86_64", "fedora-41-x86_64"


@contextlib.contextmanager
def serving(**options: str) -> Iterator[tuple[RecordedFrontend, Farm]]:
    """A frontend with no work yet, and a daemon that asks it every second."""
    with tempfile.TemporaryDirectory(prefix="real-", ignore_cleanup_errors=True) as name:
        top = Path(name)
        (top / "files").mkdir()
        with recorded(top / "files") as server:
            farm = Farm(
                top,
                backend__frontend_base_url=server.url,
                backend__frontend_auth=PASSWORD,
                backend__results_baseurl=server.model.results,
                backend__destdir=str(top / "files/results"),
                backend__sleeptime="1",
                backend__distgit_lookaside=DistGit(server).lookaside,
                builder__chroot=DEBIAN,
                **options,
            )
            try:
                yield server, farm.start()
            finally:
                farm.close()


class Importer:
    """dist-git beside the frontend, importing as soon as something waits for it."""

    def __init__(self, server: RecordedFrontend) -> None:
        self.place = DistGit(server)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            with contextlib.suppress(OSError, subprocess.CalledProcessError):  # then once more
                self.place.once()

    def __enter__(self) -> "Importer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def submit(server: RecordedFrontend, srpm: Path, project: str = "p", **more: object) -> Build:
    """A build by URL, of a file that the frontend's machine serves."""
    (server.files / srpm.name).write_bytes(srpm.read_bytes())
    source = {"url": f"{server.url}/files/{srpm.name}"}
    with server.lock:
        return server.model.submit("jdoe", project, 1, source, **more)  # type: ignore[arg-type]


def said(farm: Farm, *words: str) -> bool:
    """True when one line of the log has all the words."""
    return any(all(word in line for word in words) for line in farm.stderr.splitlines())


def finished(build: Build) -> bool:
    return build.state in ("succeeded", "failed", "canceled", "skipped")


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())
