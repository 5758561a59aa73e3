"""The embedded builder: rpmbuild in a bubblewrap sandbox on this very machine."""

import contextlib
import os
import platform
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from backend import chroot as chroots
from backend.builders import (
    Artifact,
    BuildRequest,
    Monitor,
    Package,
    SourceInfo,
    collect,
    headers,
    tidy,
)
from backend.builders.sandbox import HOME, KILLED, Area, Sandbox
from backend.builders.stream import Log, decisive_line, follow, killed_inside
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import BuildError, InfrastructureError, Killed, ToolError
from backend.process import find_all

TOOLS = "bwrap prlimit setpriv unshare mount rpm rpmbuild rpm2cpio cpio"


class RpmbuildBuilder:
    """Builds with the host's own rpmbuild and compilers, for the host's own distribution."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sandbox = Sandbox(config)
        self._ready = False

    def preflight(self) -> None:
        """Raises ToolError, with the remedy, if it cannot work on this machine."""
        find_all(TOOLS.split())
        with tempfile.TemporaryDirectory(prefix="copr-backend-") as name:
            self._sandbox.preflight(Path(name))
        self._ready = True

    def chroots(self) -> tuple[Chroot, ...]:
        """The one chroot that this host is, or is configured to be."""
        if self._config.builder_chroot:
            return (Chroot.parse(self._config.builder_chroot),)
        try:
            text = Path("/etc/os-release").read_text(encoding="utf-8")
        except OSError:
            text = ""
        return (chroots.from_os_release(text, platform.machine()),)

    def inspect(self, srpm: Path, workdir: Path, slot: int) -> SourceInfo:
        """Read a source package of unknown origin in the sandbox."""
        with _our_fault():
            self._prepare()
            area = _area(self._config, srpm, workdir, slot)
            return headers.inspect(self._sandbox, area, srpm)[0]

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        """Build in the sandbox, and return the checked results."""
        with _our_fault():
            self._prepare()
            area = _area(self._config, request.srpm, request.workdir, request.slot)
            source = request.source or (
                headers.inspect(self._sandbox, area, request.srpm)[0].package
            )
            results = collect.open_directory(area.path / "results")
            try:
                self._run(area, request, monitor)
                monitor.check()
                try:
                    return self._collect(area, source, results)
                except BuildError as error:  # our verdict: rpmbuild itself was content
                    monitor.output(f"error: {error}\n".encode())
                    raise
            finally:
                os.close(results)

    def notes(self, request: BuildRequest) -> tuple[str, ...]:
        """What a build with the host's own packages cannot do."""
        root = request.buildroot
        named = ", ".join(str(repo.get("id")) for repo in root.repos)
        host = "the rpmbuild builder uses what is installed on this host"
        notes = {
            f"repositories not enabled ({named}): {host}": root.repos,
            f"packages not installed ({', '.join(root.packages)}): {host}": root.packages,
            f"modules not switched ({', '.join(root.modules)}): {host}": root.modules,
            f"isolation {root.isolation} not used: the build runs in a bubblewrap sandbox": (
                root.isolation not in ("", "default", "unchanged")
            ),
            f"bootstrap {root.bootstrap} not used: there is no build root to bootstrap": (
                root.bootstrap not in ("", "default", "unchanged")
            ),
            "fedora-review not run: it needs mock": root.fedora_review,
        }
        return tuple(text for text, wanted in notes.items() if wanted)

    def cleanup(self, workdir: Path, slot: int) -> None:
        """Remove `workdir`; what the build made is removed by its own user, in the sandbox."""
        with _our_fault():
            self._prepare()
            tidy.remove(self._config, self._sandbox, workdir, slot)

    def _prepare(self) -> None:
        if not self._ready:
            self.preflight()

    def _run(self, area: Area, request: BuildRequest, monitor: Monitor) -> None:
        log = Log(monitor, request.max_log)
        pipe, write = os.pipe()
        try:
            try:
                with headers.build_command(
                    self._sandbox, area, _options(request), net=request.enable_net
                ) as command:
                    child = command.start(write)
            finally:
                os.close(write)
            with child:
                code = follow(child, pipe, log, request)
        finally:
            os.close(pipe)
        if not log.head.startswith(headers.STARTED):
            raise InfrastructureError(
                f"the sandbox did not start: {decisive_line(bytes(log.tail))}"
            )
        if code in KILLED or (code and killed_inside(bytes(log.tail))):
            raise Killed(_reason(bytes(log.tail), 128 + signal.SIGKILL))
        if code:
            raise BuildError(_reason(bytes(log.tail), code))

    def _collect(self, area: Area, source: Package, results: int) -> tuple[Artifact, ...]:
        out = area.path / "out"
        out.mkdir(mode=0o755)
        out.chmod(0o755)
        names = collect.take(results, out)
        if not names:
            raise BuildError("rpmbuild succeeded but made no RPM: has the spec a %files section?")
        packages = headers.results(self._sandbox, area, names)
        made = out / source.filename
        shutil.copyfile(area.path / "in.src.rpm", made)
        return tuple(
            Artifact(path=out / package.filename, package=package)
            for package in (*packages, source)
        )


def _options(request: BuildRequest) -> list[str]:
    options = ["--rebuild", "--nodeps"]
    options += ["--define", f"_topdir {HOME}/rpmbuild", "--define", f"_rpmdir {headers.RESULTS}"]
    options += ["--define", "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"]
    for name in request.with_opts:
        options += ["--with", name]
    for name in request.without_opts:
        options += ["--without", name]
    return options


def _reason(tail: bytes, code: int) -> str:
    line = decisive_line(tail)
    if "rchitecture is not included" in line or "rchitecture is excluded" in line:
        return f"{line} (ExclusiveArch or ExcludeArch of the spec: build in another chroot)"
    if code > 128:
        return f"rpmbuild was killed by signal {code - 128}, after the line: {line}"
    return line


def _area(config: Config, srpm: Path, workdir: Path, slot: int) -> Area:
    """The area with a copy of the source package: the original may be unreadable inside."""
    area = Area.make(config, workdir, slot)
    copy = area.path / "in.src.rpm"
    shutil.copyfile(srpm, copy)
    copy.chmod(0o644)
    return area


@contextlib.contextmanager
def _our_fault() -> Iterator[None]:
    try:
        yield
    except ToolError as error:
        raise Killed(f"builder: {error}") from error
    except OSError as error:
        raise InfrastructureError(f"builder: {error}") from error
