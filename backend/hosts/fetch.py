"""Results from a host: taken with limits, into a place of our own, and checked here again."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from backend import disk
from backend.builders import LOGS, Artifact, BuildRequest, Package, headers
from backend.builders.collect import MAX_LOGS, MAX_RESULTS, SAFE_LOG, SAFE_NAME
from backend.builders.sandbox import Area, Sandbox
from backend.config import Config
from backend.exceptions import BuildError, HostError, InfrastructureError
from backend.hosts.wire import WireError, from_json

_SOURCES = ("src", "nosrc")


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file on the host: the `number`th of one of its lists, and where it arrives here."""

    number: int
    name: str
    size: int
    list: ClassVar[str] = "logs"

    def have(self, directory: Path) -> int:
        """Bytes of it that are here already."""
        with contextlib.suppress(FileNotFoundError):
            return (directory / self.name).stat().st_size
        return 0

    @contextlib.contextmanager
    def open(self, directory: Path) -> Iterator[int]:
        """A descriptor that appends to the file in `directory`, which is ours alone."""
        if disk.low(directory):
            raise InfrastructureError(f"the disk of {directory} is nearly full: free space there")
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(directory / self.name, flags, 0o644)
        try:
            os.fchmod(fd, 0o644)
            yield fd
        finally:
            os.close(fd)


@dataclass(frozen=True, kw_only=True)
class Wanted(Remote):
    """A package that the host says it made."""

    package: Package
    list: ClassVar[str] = "artifacts"


#: What to fetch, and into which directory.
Errand = tuple[Remote, Path]


def logs(address: str, outcome: dict[str, Any], request: BuildRequest, most: int) -> list[Errand]:
    """The logs that the builder kept there, as far as they have no more than `most` bytes
    together. Raises HostError if that cannot be what a builder left."""
    listed = outcome.get("logs", [])
    if not isinstance(listed, list) or len(listed) > MAX_LOGS:
        raise HostError(f"host {address}: its list of logs is none, or has no end")
    found: dict[str, Remote] = {}
    for number, item in enumerate(listed):
        name, size = (item.get("name"), item.get("size")) if isinstance(item, dict) else ("", 0)
        if not isinstance(name, str) or not SAFE_LOG.fullmatch(name) or name in found:
            raise HostError(f"host {address}: refused log {str(name)[:80]!a}")
        if type(size) is not int or size < 0:
            raise HostError(f"host {address}: log {name} has no size")
        if size <= most:
            most -= size
            found[name] = Remote(number=number, name=name, size=size)
    directory = request.workdir / LOGS
    if found:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
    return [(one, directory) for one in found.values()]


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

    def errands(self, files: tuple[Wanted, ...]) -> list[Errand]:
        """What of them is to be fetched."""
        return [(file, self._out) for file in files if self.needs(file)]

    def needs(self, file: Wanted) -> bool:
        """False for the source package that we have sent ourselves."""
        return file.package != self._source

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
