"""The embedded builder: rpmbuild in a bubblewrap sandbox on this very machine."""

import contextlib
import dataclasses
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from backend.builders import (
    Artifact,
    BuildRequest,
    Monitor,
    Package,
    SourceInfo,
    collect,
    headers,
    installed,
    installer,
    limits,
    recipe,
    reproducible,
    resolve,
    rootmake,
    roots,
    rpmheader,
    stream,
    tidy,
    trial,
    workbench,
)
from backend.builders.recipe import RESULTS, Recipe
from backend.builders.sandbox import KILLED, Area, Sandbox, groups
from backend.builders.stream import Log, decisive_line, killed_inside
from backend.builders.view import HOME
from backend.builders.workbench import Workbench
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import BuildError, InfrastructureError, Killed, ToolError
from backend.process import find_all

TOOLS = "bwrap prlimit setpriv unshare mount du"
HOST_TOOLS = "rpm rpmbuild rpm2cpio cpio"
#: Where those of the results come from: the spec has no changelog, or has one.
_TIMES = {
    True: "that of the source package, since the spec has no changelog (SOURCE_DATE_EPOCH)",
    False: "that of the newest entry of the changelog (SOURCE_DATE_EPOCH)",
}


class RpmbuildBuilder:
    """Builds with rpmbuild and compilers of this host, or of an unpacked tree, a root."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sandbox = Sandbox(config)
        self._benches: dict[Chroot, Workbench] = {}
        self._installed = installed.Lists()

    def preflight(self) -> None:
        """Raises ToolError, with the remedy, if it cannot work on this machine."""
        served = roots.served(self._config)
        on_host = any(one.tree is None for one in served.values())
        find_all([*TOOLS.split(), *(HOST_TOOLS.split() if on_host else ())])
        with trial.directory() as place:
            self._sandbox.preflight(place)
            benches = {
                chroot: workbench.prepare(self._config, self._sandbox, one, place)
                for chroot, one in served.items()
            }
        self._benches = benches
        if on_host:
            self._installed.prepare()

    def chroots(self) -> tuple[Chroot, ...]:
        """The chroot that this host is, or is configured to be, and those of its roots."""
        return tuple(self._benches or roots.served(self._config))

    def describe(self) -> str:
        """The limits of a build, and who enforces them here."""
        return limits.describe(self._config, groups(self._config))

    def inspect(self, srpm: Path, workdir: Path, slot: int) -> SourceInfo:
        """Read a source package of unknown origin in the sandbox."""
        with _our_fault():
            bench = next(iter(self._prepared().values()))
            area = _area(self._config, srpm, workdir, slot)
            return headers.inspect(bench.sandbox, area, srpm)[0]

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        """Build in the sandbox, and return the checked results."""
        with _our_fault(), contextlib.ExitStack() as stack:
            bench = self._bench(request)
            area = _area(self._config, request.srpm, request.workdir, request.slot)
            stack.callback(rootmake.retire, self._config, bench.tree)
            stack.enter_context(roots.held(bench.tree))
            source = request.source or (
                headers.inspect(bench.sandbox, area, request.srpm)[0].package
            )
            results = collect.open_directory(area.path / "results")
            try:
                trees: tuple[Path, ...] = (bench.tree,) if bench.tree else ()
                if bench.resolves:
                    job = installer.Job(
                        config=self._config,
                        bench=bench,
                        area=area,
                        request=request,
                        log=Log(monitor, request.max_log),
                    )
                    trees = stack.enter_context(resolve.layer(job))
                    bench = dataclasses.replace(bench, sandbox=self._sandbox.on(trees))
                lack = self._installed.write(bench.sandbox, trees, area, request.workdir)
                self._run(bench, area, request, monitor, lack)
                monitor.check()
                try:
                    return self._collect(area, source, results)
                except BuildError as error:  # our verdict: rpmbuild itself was content
                    monitor.output(f"error: {error}\n".encode())
                    raise
            finally:
                os.close(results)

    def notes(self, request: BuildRequest) -> tuple[str, ...]:
        """What a build with what is installed cannot do."""
        root = request.buildroot
        bench = self._benches.get(request.chroot)
        if bench and bench.resolves:
            root = dataclasses.replace(root, repos=(), packages=(), modules=())
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
            self._prepared()
            tidy.remove(self._config, self._sandbox, workdir, slot)

    def _prepared(self) -> dict[Chroot, Workbench]:
        if not self._benches:
            self.preflight()
        return self._benches

    def _bench(self, request: BuildRequest) -> Workbench:
        chroot = request.chroot
        benches = self._prepared()
        if chroot not in benches:
            raise BuildError(f"chroot {chroot} cannot be built here: there is no root for it")
        bench = benches[chroot]
        if bench.served.about:  # `root update` may have made another tree
            served = roots.served(self._config).get(chroot)
            if served is None:
                raise InfrastructureError(f"root {chroot} is gone: copr_be.py root make {chroot}")
            if served.tree != bench.tree:
                bench = workbench.prepare(self._config, self._sandbox, served, request.workdir)
                benches[chroot] = bench
        return bench

    def _run(
        self,
        bench: Workbench,
        area: Area,
        request: BuildRequest,
        monitor: Monitor,
        lack: str,
    ) -> None:
        log = Log(monitor, request.max_log)
        made = self._recipe(bench, area, request, lack)
        with recipe.command(bench.sandbox, area, made) as command:
            code = stream.supervise(self._config, area, command, log, request)
        tail = bytes(log.tail)
        if not log.head.startswith(recipe.STARTED):
            # What is installed for the build may be the reason: it is not tried for ever.
            kind = Killed if bench.sandbox.layered else InfrastructureError
            raise kind(f"the sandbox did not start: {decisive_line(tail)}")
        if code in KILLED or (code and killed_inside(tail)):
            raise Killed(_reason(tail, 128 + signal.SIGKILL))
        if code:
            reason = _reason(tail, code)
            raise BuildError(reason + limits.hint(reason + _last_words(tail)))

    def _recipe(self, bench: Workbench, area: Area, request: BuildRequest, lack: str) -> Recipe:
        options = _options(request)
        same = request.reproducible
        epoch = reproducible.epoch(area.path / "in.src.rpm") if same else ""
        where = f"root {request.chroot}" if bench.tree else "this host"
        word = "installed in" if bench.resolves else "not checked on"
        return Recipe(
            title=f"{bench.version} in a sandbox: {' '.join(options)}",
            notes=[
                f"Limits: {self.describe()}",
                *(f"BuildRequires, {word} {where}: {one}" for one in _needed(area)),
                *([f"Times: {_TIMES[bool(epoch)]}"] if same else []),
                *([f"Note: {lack}"] if lack else []),
            ],
            options=options,
            macros=bench.macros + (reproducible.macros() if same else ""),
            epoch=epoch,
            net=request.enable_net,
        )

    def _collect(self, area: Area, source: Package, results: int) -> tuple[Artifact, ...]:
        out = area.path / "out"
        out.mkdir(mode=0o755)
        out.chmod(0o755)
        names = collect.take(results, out)
        if not names:
            raise BuildError("rpmbuild succeeded but made no RPM: has the spec a %files section?")
        packages = headers.results(out, names)
        made = out / source.filename
        shutil.copyfile(area.path / "in.src.rpm", made)
        return tuple(
            Artifact(path=out / package.filename, package=package)
            for package in (*packages, source)
        )


def _options(request: BuildRequest) -> list[str]:
    options = ["--rebuild", "--nodeps"]
    options += ["--define", f"_topdir {HOME}/rpmbuild", "--define", f"_rpmdir {RESULTS}"]
    options += ["--define", "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"]
    for name in request.with_opts:
        options += ["--with", name]
    for name in request.without_opts:
        options += ["--without", name]
    return options


def _needed(area: Area) -> list[str]:
    """What the source package says that its build needs; nothing if only librpm can read it."""
    with contextlib.suppress(BuildError):
        return rpmheader.read(area.path / "in.src.rpm", check=False).requires()
    return []


def _last_words(tail: bytes) -> str:
    """What a build said shortly before its end, where the program that failed gives its reason."""
    return "\n".join(tail[-4096:].decode("utf-8", "replace").splitlines()[-20:])


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
