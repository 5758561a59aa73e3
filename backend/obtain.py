"""Where a task's package comes from: fetched, made in the sandbox, or on our own disk."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from backend import distgit, origins, sources
from backend.builders import Artifact, Builder, Monitor, SourceInfo, headers
from backend.builders.script import Room
from backend.config import Config
from backend.constants import Source
from backend.exceptions import BuildError
from backend.job import RpmTask, SourceTask


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The place of one task; `workdir` is its work directory."""

    config: Config
    builder: Builder
    slot: int
    monitor: Monitor
    workdir: Path

    def piece(self, name: str) -> Path:
        """A new private directory."""
        path = self.workdir / name
        path.mkdir(mode=0o700)
        return path

    def room(self, deadline: float) -> Room:
        """Where scripts make the sources, until `deadline` (monotonic)."""
        return Room(
            config=self.config,
            workdir=self.piece("sources"),
            slot=self.slot,
            deadline=deadline,
            monitor=self.monitor,
        )


def source(bench: Bench, task: SourceTask) -> tuple[origins.Made, SourceInfo]:
    """The source package of a source task, and what it says of itself."""
    if origins.is_made_here(task):
        room = bench.room(time.monotonic() + bench.config.builder_timeout)
        made = origins.source_package(task, room, bench.config.frontend_url)
    else:
        made = origins.Made(srpm=_fetched(bench, task))
    return made, bench.builder.inspect(made.srpm, bench.piece("inspect"), bench.slot)


def _fetched(bench: Bench, task: SourceTask) -> Path:
    config, url = bench.config, sources.source_url(task)
    bench.monitor.output(f"Fetching {url}\n".encode())
    srpm = bench.workdir / sources.file_name(url)  # ends in .rpm, as no piece does
    if task.source_type is not Source.UPLOAD or not _copied(config, url, srpm):
        sources.fetch(task, srpm, config.builder_max_download, bench.monitor.check)
    return srpm


def _copied(config: Config, url: str, target: Path) -> bool:
    """Copy an upload from where our own frontend keeps it: no need to ask ourselves over HTTP."""
    if not config.embedded:
        return False
    stored = sources.stored_upload(url, config.frontend_url, config.statedir)
    if stored is None or stored.stat().st_size > config.builder_max_download:
        return False
    shutil.copyfile(stored, target)
    return True


def for_rpms(bench: Bench, task: RpmTask, deadline: float) -> Path:
    """The source package that an RPM task builds."""
    if task.git_repo and not task.srpm_url:
        return distgit.source_package(task, bench.room(deadline))
    found = sources.published_srpm(task, bench.config.destdir, bench.config.results_url)
    if found:
        return found
    if not task.srpm_url:
        raise BuildError("the task names neither a dist-git repository nor a source package")
    srpm = bench.workdir / "source.src.rpm"
    limit = bench.config.builder_max_download
    sources.download(task.srpm_url, srpm, limit, bench.monitor.check)
    return srpm


def binary(bench: Bench, task: RpmTask) -> Artifact:
    """The uploaded package that an RPM task publishes (its `rpm_url`), checked as results of
    builds are.

    Raises BuildError if it is damaged, or not what the task says.
    """
    url, out = task.rpm_url or "", bench.piece("binary")
    path = out / sources.file_name(url)
    if not _copied(bench.config, url, path):
        sources.download(url, path, bench.config.builder_max_download, bench.monitor.check)
    try:
        (package,) = headers.results(out, (path.name,))
    except BuildError as error:
        why = str(error).partition(": ")[2]  # after the words "refused result" and its name
        raise BuildError(f"package {path.name} is refused: {why}") from error
    if package.name != task.package or not task.chroot.takes(package.arch):
        raise BuildError(
            f"package {path.name} is refused: {task.package} for {task.chroot} was announced"
        )
    return Artifact(path=path, package=package)
