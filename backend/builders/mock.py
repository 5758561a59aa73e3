"""The builder for distributions: mock makes a fresh root for each build, and builds in it."""

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from backend import disk
from backend.builders import (
    LOGS,
    Artifact,
    BuildRequest,
    Monitor,
    SourceInfo,
    collect,
    headers,
    limits,
    mockclean,
    mockconfig,
    mocknotes,
    mocksite,
    mockverdict,
)
from backend.builders.mockclean import Traces
from backend.builders.mockrun import Desk, Mock
from backend.builders.mockwatch import MockWatch
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.builders.sandbox import Area
from backend.builders.stream import Log, follow
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import BuildError, InfrastructureError, Killed, ToolError
from backend.process import find_all

TOOLS = "env setpriv unshare mount"
#: Of each of mock's logs so much is kept.
MAX_LOG = 64 * 1024**2
_TAIL = 256 * 1024
_TRY = 120.0


class MockBuilder:
    """Builds for the chroots whose mock configurations are installed."""

    def __init__(self, config: Config) -> None:
        self._config = config
        # It reads source packages of unknown origin, in its sandbox; mock would do so as root.
        self._reader = RpmbuildBuilder(config)

    def preflight(self) -> None:
        """Raises ToolError, with the remedy, if it cannot work on this machine."""
        if not mocksite.has("mock"):
            raise ToolError(
                "mock is not installed: dnf install mock (Fedora; its relatives have it in EPEL,"
                " Debian has no package of it)"
            )
        find_all(TOOLS.split())
        user = mocksite.user(self._config)
        chroots = self.chroots()
        if not chroots:
            raise ToolError(
                f"no configuration of a chroot in {self._config.builder_mock_configs} fits this"
                " machine and [builder] mock_chroots: dnf install mock-core-configs"
            )
        self._reader.preflight()
        basedir = self._config.builder_mock_basedir
        if not basedir.is_dir():
            raise ToolError(
                f"[builder] mock_basedir = {basedir}: no such directory:"
                f" install -d -m 2775 -g mock {basedir}"
            )
        _try(self._config, user, chroots[0])

    def chroots(self) -> tuple[Chroot, ...]:
        """Those of the installed configurations that this machine runs by itself."""
        return mocksite.chroots(self._config)

    def describe(self) -> str:
        """Who mock runs as, how it confines builds, and their limits."""
        user = mocksite.user(self._config)
        kind = mocksite.isolation(self._config)
        within = limits.describe(self._config, "looked at every two seconds")
        return f"{within}; by mock as {user.name}, isolation {kind}"

    def inspect(self, srpm: Path, workdir: Path, slot: int) -> SourceInfo:
        """Read a source package of unknown origin in the sandbox."""
        return self._reader.inspect(srpm, workdir, slot)

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        """Build in a fresh root, and return the checked results."""
        with _our_fault():
            info = self.inspect(request.srpm, request.workdir, request.slot)
            bench = _Bench(self._config, request, info)
            results = collect.open_directory(bench.desk.path / "result")
            try:
                try:
                    bench.run(monitor)
                finally:
                    logs = request.workdir / LOGS
                    logs.mkdir(mode=0o700)
                    collect.take_logs(results, logs, MAX_LOG)
                monitor.check()
                try:
                    return _collect(self._config, request, results)
                except BuildError as error:  # our verdict: mock itself was content
                    monitor.output(f"error: {error}\n".encode())
                    raise
            finally:
                os.close(results)

    def notes(self, request: BuildRequest) -> tuple[str, ...]:
        """What mock cannot do here, or does otherwise than asked."""
        return mocknotes.of(self._config, request)

    def cleanup(self, workdir: Path, slot: int) -> None:
        """Remove `workdir`, and what a killed mock left elsewhere."""
        with _our_fault():
            # Who sweeps up after everybody else gives the directory above, too.
            for desk in (workdir / "mock", *workdir.glob("*/mock")):
                if (desk / mockclean.NOTE).exists():
                    mockclean.clean(desk, mocksite.user(self._config), killed=True)
        self._reader.cleanup(workdir, slot)


class _Bench:
    """One run of mock: its files, its command line, its end."""

    def __init__(self, config: Config, request: BuildRequest, source: SourceInfo) -> None:
        self._config, self._request = config, request
        user = mocksite.user(config)
        site = mocksite.site(config, request)
        setup = mockconfig.make(request, site)
        # Of this build alone: on a host all farms have the same state directory, and slots alike.
        self._extension = f"{request.slot}-{zlib.crc32(bytes(request.workdir)):08x}"
        path = request.workdir / "mock"
        path.mkdir(mode=0o755)
        path.chmod(0o755)
        self.desk = Desk.make(path, user)
        self._traces = Traces(
            root=setup.root,
            extension=self._extension,
            basedir=site.basedir,
            include=site.include,
        )
        srpm = (request.source or source.package).filename
        self._srpm, self._cfg = srpm, f"{setup.root}.cfg"
        self._macros = bool(setup.macros)
        shutil.copyfile(request.srpm, path / srpm)
        (path / self._cfg).write_text(setup.text, encoding="utf-8")
        (path / "macros").write_text(setup.macros, encoding="utf-8")
        for name in (srpm, self._cfg, "macros"):
            (path / name).chmod(0o644)
        # mock makes a prepared root anew when a configuration is younger than it.
        os.utime(path / self._cfg, (0, 0))
        self._spec = self._copy(path, source)
        result = path / "result"
        self._root_log = result / "root.log"
        result.mkdir(mode=0o755)
        result.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(result, user.uid, user.gid)

    def _copy(self, path: Path, source: SourceInfo) -> Path:
        """The spec file for mock, which would look for its name in what rpm prints: there, what
        rpm has to complain of comes out in the middle of a line."""
        name = Path("spec") / source.spec_name
        (path / name.parent).mkdir()
        (path / name.parent).chmod(0o755)
        (path / name).write_bytes(source.spec)
        (path / name).chmod(0o644)
        return name

    def run(self, monitor: Monitor) -> None:
        """Run mock to its end and clean up behind it; raises what its end means."""
        log = Log(monitor, self._request.max_log)
        self._traces.write(self.desk.path)
        code, killed, hoard = -1, True, False
        try:
            code, killed = self._follow(log)
        except BuildError as limit:
            raise mockverdict.ended_by_us(limit, _tail(self._root_log)) from limit
        finally:
            if code:
                hoard = self._discard()
            mockclean.clean(self.desk.path, self.desk.user, killed=killed)
        ended = self._ended(code, bytes(log.tail), hoard=hoard)
        if ended.broken_cache:
            mockclean.forget_cache(self.desk.path, self.desk.user)
        if error := mockverdict.judge(ended):
            raise error

    def _follow(self, log: Log) -> tuple[int, bool]:
        """The exit code, and whether mock was kept from cleaning up."""
        pipe, write = os.pipe()
        try:
            try:
                mock = Mock(self.desk, self._argv(), write)
            finally:
                os.close(write)
            results = self.desk.path / "result"
            with mock, MockWatch(self._config, self._traces, results, mock.pid) as watch:
                code = follow(mock, pipe, log, _Limits(self._request), watch)
            return code, mock.hard or code < 0
        finally:
            os.close(pipe)

    def _argv(self) -> list[str]:
        seen = self.desk.seen
        argv = ["-r", str(seen / self._cfg), "--uniqueext", self._extension]
        argv += ["--resultdir", str(seen / "result")]
        if self._macros:
            argv += ["--macro-file", str(seen / "macros")]
        argv += [*mockconfig.options(self._request), "--spec", str(seen / self._spec)]
        return [*argv, "--rebuild", str(seen / self._srpm)]

    def _discard(self) -> bool:
        """Remove the packages of a failed build: they may fill the disk, and cleaning up and the
        logs need some of it. Returns whether they do."""
        results = self.desk.path / "result"
        hoard = disk.usage(results) >= disk.reserve(results)
        for path in results.glob("*.rpm"):
            path.unlink()
        return hoard

    def _ended(self, code: int, output: bytes, *, hoard: bool) -> mockverdict.Ended:
        result = self.desk.path / "result"
        root = _tail(self._root_log)
        return mockverdict.Ended(
            code=code,
            output=output,
            root=root,
            root_complete=len(root) < _TAIL,
            build=_tail(result / "build.log"),
            state=_tail(result / "state.log"),
            repos=mockconfig.repo_ids(self._request),
            asked=mockconfig.asked(self._request),
            crowded=disk.low(self._config.builder_mock_basedir),
            hoard=hoard,
            cramped=disk.low(self.desk.path),
        )


class _Limits:
    """Those of the request, but for the disk: whose fault a full one is, only MockWatch and the
    logs can tell, since mock removes its root before it ends."""

    #: A file system that is never full.
    workdir = Path("/proc")

    def __init__(self, request: BuildRequest) -> None:
        self.timeout, self.stall_timeout = request.timeout, request.stall_timeout
        self.max_log = request.max_log


def _tail(path: Path) -> bytes:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return file.read(_TAIL)
    except OSError:
        return b""


def _collect(config: Config, request: BuildRequest, results: int) -> tuple[Artifact, ...]:
    area = Area.make(config, request.workdir, request.slot)
    out = area.path / "out"
    out.mkdir(mode=0o755)
    out.chmod(0o755)
    names = collect.take(results, out, others=True)
    packages = headers.results(out, names, sources=True) if names else ()
    if not any(package.arch not in ("src", "nosrc") for package in packages):
        raise BuildError("mock succeeded but made no RPM: has the spec a %files section?")
    return tuple(Artifact(path=out / package.filename, package=package) for package in packages)


def _try(config: Config, user: mocksite.User, chroot: Chroot) -> None:
    """Start mock exactly as for a build, with nothing to do."""
    config_file = mocksite.configuration(config, chroot)
    path = config.rundir if config.rundir.is_dir() else Path("/")
    desk = Desk.make(path, user)
    result = desk.run(["-r", str(config_file), "--print-root-path"], _TRY)
    if result.code:
        raise ToolError(
            f"mock does not start for {user.name} with {config_file} (exit code {result.code}):"
            f" {result.last_line}: try mock -r {config_file} --print-root-path as that user"
        )


@contextlib.contextmanager
def _our_fault() -> Iterator[None]:
    try:
        yield
    except ToolError as error:
        raise Killed(f"builder: {error}") from error
    except OSError as error:
        raise InfrastructureError(f"builder: {error}") from error
