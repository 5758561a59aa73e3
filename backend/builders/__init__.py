"""WHAT builds. A builder turns a source package into RPMs; the registry names them all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from backend.chroot import Chroot

#: Directory below `workdir` where a builder leaves logs of its own, see `Builder.build`.
LOGS = "logs"


@dataclass(frozen=True, kw_only=True)
class Package:
    """Identity of one RPM, from its header; `arch` is `src` for a source package."""

    name: str
    epoch: int | None
    version: str
    release: str
    arch: str

    @property
    def evr(self) -> str:
        """`[epoch:]version-release`."""
        prefix = f"{self.epoch}:" if self.epoch else ""
        return f"{prefix}{self.version}-{self.release}"

    @property
    def filename(self) -> str:
        """The canonical file name, `name-version-release.arch.rpm`."""
        return f"{self.name}-{self.version}-{self.release}.{self.arch}.rpm"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One checked result file: a regular file that nobody else can write any more."""

    path: Path
    package: Package


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """What a source package says of itself, and its spec file as bytes.

    Tags by distribution are not known without expanding the spec there; the three lists
    are those of the package's header.
    """

    package: Package
    spec_name: str
    spec: bytes
    exclusivearch: tuple[str, ...] = ()
    excludearch: tuple[str, ...] = ()
    buildarch: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Buildroot:
    """How the build root is to be made, as the frontend asks (`get-build-task/`).

    `repos` are the frontend's objects (id, name, baseurl, and optionally priority,
    repo_gpgcheck, module_hotfixes), `modules` lines such as `enable m:s`. `isolation` and
    `bootstrap` are mock's words, empty where the default applies. `memory` is in MB. `macros`
    are names, without the percent sign, and values.
    """

    repos: tuple[Mapping[str, Any], ...] = ()
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    isolation: str = ""
    bootstrap: str = ""
    bootstrap_image: str = ""
    memory: int = 0
    fedora_review: bool = False
    macros: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Everything a builder needs; paths are on the daemon's machine.

    `workdir` is a fresh, empty, private (0700) directory that the caller makes and removes;
    it lies on a file system with room for the build. `slot` is the worker's number, which
    picks the user id of the build. Times are seconds. `source` is the identity of `srpm` if
    `inspect` has told it before, of the very same file; it need not be found out again then.
    `reproducible`: the same source gives the same RPMs, see `backend.builders.reproducible`.
    """

    srpm: Path
    chroot: Chroot
    workdir: Path
    slot: int
    timeout: int
    stall_timeout: int
    max_log: int
    enable_net: bool = False
    with_opts: tuple[str, ...] = ()
    without_opts: tuple[str, ...] = ()
    buildroot: Buildroot = Buildroot()
    source: Package | None = None
    reproducible: bool = True


class Monitor(Protocol):
    """How a running build talks to its worker."""

    def output(self, data: bytes) -> None:
        """Append to the live log, at once."""

    def wakeup_fd(self) -> int:
        """Readable when something happened that `check` must look at."""

    def check(self) -> None:
        """Raises Canceled or Stopped when the build must end now; else returns. Never blocks."""


class Builder(Protocol):
    """One way to build. Errors: BuildError is the package's fault, InfrastructureError ours.

    A builder that cannot do all that a request may ask for also has a method `notes(request)`:
    one line for each setting that it leaves out, with the reason. They go into backend.log. With
    a method `describe()` it says in one line what a build may use, for `copr_be.py check`.
    """

    def preflight(self) -> None:
        """Raises ToolError, with the remedy, if it cannot work on this machine."""

    def chroots(self) -> tuple[Chroot, ...]:
        """The chroots that it can build for."""

    def inspect(self, srpm: Path, workdir: Path, slot: int) -> SourceInfo:
        """Read a source package of unknown origin without trusting it.

        Raises BuildError with one clear line if it is no source RPM, is truncated or damaged.
        """

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        """Build, and return the checked results (in `workdir`), the source package included.

        Raises BuildError (build failed, no RPM, limit exceeded: names it), InfrastructureError,
        and passes on Canceled and Stopped after everything of the build has been killed.

        Logs of its own, beside what went to the monitor, are left as `*.log` in
        `workdir/logs`, a directory that only the daemon can write to, however it ends.
        """

    def cleanup(self, workdir: Path, slot: int) -> None:
        """Remove `workdir` with whatever `inspect` or `build` left there.

        Trees that only the build's user may read, or that are too deep for Python, are
        removed by that user. Raises InfrastructureError if something remains.
        """


def registry() -> Mapping[str, str]:
    """Name in `[builder] type` → where its class is, imported only when it is used."""
    return {
        "mock": "backend.builders.mock:MockBuilder",
        "rpmbuild": "backend.builders.rpmbuild:RpmbuildBuilder",
    }
