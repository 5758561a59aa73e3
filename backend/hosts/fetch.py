"""Results from a host: taken with limits, into a place of our own, and checked here again."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backend import disk
from backend.builders import Artifact, BuildRequest, Package, headers
from backend.builders.collect import MAX_RESULTS, SAFE_NAME
from backend.builders.sandbox import Area, Sandbox
from backend.config import Config
from backend.exceptions import BuildError, HostError, InfrastructureError
from backend.hosts.wire import WireError, from_json

_SOURCES = ("src", "nosrc")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One file that the host says it made: the `number`th of its list."""

    number: int
    name: str
    size: int
    package: Package


def wanted(address: str, outcome: dict[str, Any], config: Config) -> tuple[Wanted, ...]:
    """What to fetch. Raises HostError if that cannot be what a builder made."""
    listed = outcome.get("artifacts")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_RESULTS:
        raise HostError(f"host {address}: its list of results is none, or has no end")
    found = []
    try:
        for number, item in enumerate(listed):
            package = from_json(Package, item["package"])
            size = item["size"]
            if type(size) is not int or size < 0:
                raise WireError("a result without a size")
            found.append(Wanted(number=number, name=package.filename, size=size, package=package))
    except (WireError, LookupError, TypeError) as error:
        raise HostError(f"host {address}: its list of results is damaged: {error}") from error
    for file in found:
        if not SAFE_NAME.fullmatch(file.name) or len(file.name) > 250:
            raise HostError(f"host {address}: refused result {file.name[:250]!a}")
    if len({file.name for file in found}) < len(found):
        raise HostError(f"host {address}: two results have the same name")
    total = sum(file.size for file in found)
    if total > config.hosts_max_results:
        raise BuildError(
            f"the results have {total} bytes, more than {config.hosts_max_results}"
            " ([hosts] max_results)"
        )
    return tuple(found)


class Store:
    """Where the files of one build arrive: `out` of its area."""

    def __init__(self, config: Config, request: BuildRequest, source: Package) -> None:
        self._config, self._request, self._source = config, request, source
        self._area = Area.make(config, request.workdir, request.slot)
        self._out = self._area.path / "out"
        self._out.mkdir(mode=0o755, exist_ok=True)
        self._out.chmod(0o755)

    def have(self, file: Wanted) -> int:
        """Bytes of it that are here already."""
        with contextlib.suppress(FileNotFoundError):
            return (self._out / file.name).stat().st_size
        return 0

    def needs(self, file: Wanted) -> bool:
        """False for the source package that we have sent ourselves."""
        return file.package != self._source

    @contextlib.contextmanager
    def open(self, file: Wanted) -> Iterator[int]:
        """A descriptor that appends to the file."""
        if disk.low(self._out):
            raise InfrastructureError(f"the disk of {self._out} is nearly full: free space there")
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._out / file.name, flags, 0o644)
        try:
            os.fchmod(fd, 0o644)
            yield fd
        finally:
            os.close(fd)

    def checked(self, files: tuple[Wanted, ...]) -> tuple[Artifact, ...]:
        """The results, as their headers describe them to us. Raises BuildError."""
        sandbox = Sandbox(self._config)
        binary = tuple(f.name for f in files if f.package.arch not in _SOURCES)
        if not binary:
            raise BuildError("the build succeeded but made no RPM")
        packages = list(headers.results(self._out, binary))
        for file in files:
            if file.package.arch in _SOURCES:
                packages.append(self._source_of(sandbox, file))
        return tuple(
            Artifact(path=self._out / package.filename, package=package) for package in packages
        )

    def _source_of(self, sandbox: Sandbox, file: Wanted) -> Package:
        path = self._out / file.name
        if not self.needs(file):
            shutil.copyfile(self._request.srpm, path)
            path.chmod(0o644)
            return self._source
        copy = self._area.path / "in.src.rpm"
        copy.unlink(missing_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o644)
        package = headers.inspect(sandbox, self._area, path)[0].package
        if package.filename != file.name:
            raise BuildError(f"refused result {file.name}: its header says {package.filename}")
        return package
