"""What a build in mock uses up: memory, processes, disk. Looked at while it runs."""

from pathlib import Path

from backend import disk
from backend.builders.limits import MIB, Watch
from backend.builders.mockclean import Traces
from backend.builders.stream import guilt
from backend.config import Config
from backend.exceptions import BuildError, InfrastructureError

#: Where a package writes; the rest of a root is the distribution's.
_ITS_OWN = ("root/builddir", "root/tmp", "root/var/tmp")


class MockWatch:
    """Judges a running mock, whose first process is `pid`, once it has made its root.

    Into `results` mock copies what it finds in the root; a link there may lead to an endless file.
    Leave it as a context manager.
    """

    def __init__(self, config: Config, traces: Traces, results: Path, pid: int) -> None:
        self._config, self._traces, self._results, self._pid = config, traces, results, pid
        self._watch: Watch | None = None
        # mock makes its base directory by itself.
        places = [where for where in (Path(traces.basedir), results) if where.exists()]
        self._before = {where.stat().st_dev: disk.free(where) for where in places}

    def __enter__(self) -> "MockWatch":
        return self

    def __exit__(self, *details: object) -> None:
        if self._watch:
            self._watch.__exit__(*details)

    def check(self) -> None:
        """Raises BuildError that names the limit, InfrastructureError if others fill the disk."""
        root = next(iter(self._traces.left), None)
        if root is None:
            return
        try:
            for place in (root, self._results):
                if disk.low(place):
                    self._blame(root, place)
            most = self._config.builder_max_disk
            if most and disk.usage(self._results) > most:
                raise BuildError(f"build ended: disk limit of {most // MIB} MB (max_disk)")
            self._watch = self._watch or Watch(self._config, root, self._pid, None)
            self._watch.check()
        except FileNotFoundError:  # mock has just removed it
            return

    def hidden(self) -> int:
        """Nothing: the space of mock's roots is looked at where they are."""
        return 0

    def final(self) -> None:
        """Nothing: mock removes its root by itself, and with it whatever could be looked at."""

    def _blame(self, root: Path, full: Path) -> None:
        wanted, device = disk.reserve(full), full.stat().st_dev
        places = [root / place for place in _ITS_OWN] + [self._results]
        own = [place for place in places if place.exists() and place.stat().st_dev == device]
        lost = self._before.get(device, 0) - disk.free(full)
        where = self._traces.basedir if full == root else full
        if error := guilt(sum(map(disk.usage, own)), lost, wanted, where):
            raise error
        raise InfrastructureError(
            f"the disk of {where} is nearly full, not by this build: free space there"
        )
