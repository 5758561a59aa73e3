"""The second step of a build: from a source package to packages in the repository.

A step that fails raises, as in `build`.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend import builderlogs, obtain, resultsjson, rpmtask, sign
from backend.builders import Artifact, Builder, BuildRequest, Package
from backend.exceptions import BuildError, HostUnfit
from backend.job import RpmTask
from backend.monitor import FETCH, HANG, BuildMonitor
from backend.repository import Manners
from backend.results import ResultDir
from backend.resume import summary
from backend.site import Site
from backend.workshop import Workshop, bench, who


def rpms(
    shop: Workshop, task: RpmTask, results: ResultDir, monitor: BuildMonitor, workdir: Path
) -> dict[str, Any]:
    """Build, or take what was uploaded, sign and publish it; returns what the final report says.

    Raises BuildError, Canceled, and what `build.run` raises.
    """
    if task.rpm_url:
        return _uploaded(shop, task, results, monitor, workdir)
    started = time.time()
    request = _prepared(shop, task, monitor, workdir)
    try:
        try:
            artifacts = _build_at_site(shop, task, results, monitor, request)
        finally:
            builderlogs.keep(request.workdir, results.path)
    except BuildError:
        if task.git_repo:
            _leave_sources(shop, request.srpm, results, workdir)
            results.write_configs(rpmtask.settings(request))
        raise
    monitor.fence()
    results.log(f"built {len(artifacts)} packages, publishing")
    if task.git_repo:
        _spec_of(shop, request.srpm, results, workdir)
    results.place(_signed(shop, task, results, artifacts, workdir))
    results.write_configs(rpmtask.settings(request))
    packages = [artifact.package for artifact in artifacts]
    if artifacts and shop.config.repository_provenance:
        _record(shop, task, results, request, packages=packages, run=(monitor.attempt, started))
    return _published(shop, task, results, monitor, packages)


def _prepared(shop: Workshop, task: RpmTask, monitor: BuildMonitor, workdir: Path) -> BuildRequest:
    """What the builder is asked for, with the source package here."""
    if shop.leases is None:
        _check_chroot(task, shop.builder)
    if task.storage:
        raise BuildError("the project is stored in Pulp, which this backend does not support")
    if not shop.config.embedded:
        rpmtask.make_repositories(shop.config, task)
    deadline = time.monotonic() + min(task.timeout, shop.config.builder_timeout)
    build_dir = workdir / "build"
    build_dir.mkdir(mode=0o700)
    with monitor.limit(deadline, FETCH):
        srpm = obtain.for_rpms(bench(shop, monitor, workdir), task, deadline)
    monitor.settled()
    return rpmtask.request(
        shop.config, task, srpm=srpm, workdir=build_dir, slot=shop.slot, deadline=deadline
    )


def _uploaded(
    shop: Workshop, task: RpmTask, results: ResultDir, monitor: BuildMonitor, workdir: Path
) -> dict[str, Any]:
    """Publish a package that was built elsewhere: what a build leaves, but for what tells how it
    was built."""
    with monitor.limit(time.monotonic() + shop.config.builder_timeout, FETCH):
        artifact = obtain.binary(bench(shop, monitor, workdir), task)
    monitor.settled()
    monitor.fence()
    text = f"{artifact.package.filename} was built elsewhere and uploaded by {task.submitter}"
    results.output(f"{text}\n".encode())
    results.log(f"{text}: no statement about its origin; publishing")
    results.place(_signed(shop, task, results, [artifact], workdir))
    return _published(shop, task, results, monitor, [artifact.package])


def _published(
    shop: Workshop,
    task: RpmTask,
    results: ResultDir,
    monitor: BuildMonitor,
    packages: Sequence[Package],
) -> dict[str, Any]:
    """Make what was placed count; returns what the final report says of it."""
    document = resultsjson.of_rpm(packages)
    results.write_json(document)
    _publish(shop, task, results, monitor, new=bool(packages))
    return {
        "results": document,
        "built_packages": summary((p.name, p.version, p.arch) for p in packages),
        "pkg_version": task.version,
    }


def _signed(
    shop: Workshop,
    task: RpmTask,
    results: ResultDir,
    artifacts: Sequence[Artifact],
    workdir: Path,
) -> Sequence[Artifact]:
    """Copies with the signature of the project's key, before anybody can see them."""
    signer = sign.signer(shop.config, task.owner, task.dirname)
    if signer is None or not artifacts:
        return artifacts
    signer.prepare()
    place = workdir / "signed"
    place.mkdir(mode=0o700)
    copied = [place / artifact.package.filename for artifact in artifacts]
    for artifact, target in zip(artifacts, copied, strict=True):
        shutil.copyfile(artifact.path, target, follow_symlinks=False)
    signer.sign_copies(copied)
    results.log(f"signed {len(copied)} packages")
    return [replace(one, path=path) for one, path in zip(artifacts, copied, strict=True)]


def _record(
    shop: Workshop,
    task: RpmTask,
    results: ResultDir,
    request: BuildRequest,
    *,
    packages: Sequence[Package],
    run: tuple[int, float],
) -> None:
    """Where the packages come from, for whoever wants to know or to make them again; `run` is the
    number of the attempt, and when it began."""
    from backend.provenance import record  # noqa: PLC0415 - idle workers stay small

    made = record.Made(
        config=shop.config,
        task=task,
        attempt=run[0],
        srpm=request.srpm,
        workdir=request.workdir,
        results=results,
        packages=packages,
        settings=rpmtask.settings(request),
        started=run[1],
        finished=time.time(),
    )
    record.write(made)


def _check_chroot(task: RpmTask, builder: Builder, host: str = "") -> None:
    """Raises BuildError; of a host HostUnfit, since another one of its group may be made for it."""
    chroots = builder.chroots()
    if task.chroot not in chroots:
        have = ", ".join(map(str, chroots)) or "nothing"
        if host:
            raise HostUnfit(f"host {host}: chroot {task.chroot} cannot be built there, only {have}")
        raise BuildError(f"chroot {task.chroot} cannot be built here: this host builds {have}")


@contextlib.contextmanager
def _site(
    shop: Workshop, task: RpmTask, results: ResultDir, monitor: BuildMonitor
) -> Iterator[Site]:
    """Where to build: here, or at a host, for which this waits."""
    if shop.leases is None:
        yield Site(builder=shop.builder)
        return
    with contextlib.ExitStack() as stack:
        with monitor.limit(time.monotonic(), HANG):
            tried = tuple(name.rstrip("'") for name in shop.queues.host_faults(task.task_id))
            site = stack.enter_context(shop.leases.take(task, tried, monitor, results.log))
        results.write_info(task.build_id, site.name, task.identity)
        results.log(f"building on host {site.name}")
        shop.say(f"build {task.task_id}: on host {site.name}", "debug")
        _check_chroot(task, site.builder, site.name)
        yield site


def _build_at_site(
    shop: Workshop,
    task: RpmTask,
    results: ResultDir,
    monitor: BuildMonitor,
    request: BuildRequest,
) -> tuple[Artifact, ...]:
    """Build where there is room; the time until there was some is none of the build's."""
    deadline = time.monotonic() + request.timeout
    with _site(shop, task, results, monitor) as site:
        for line in rpmtask.notes(site.builder, task, request):
            results.log(f"note: {line}")
        with monitor.limit(deadline + site.waited, HANG):
            return site.builder.build(request, monitor)


def _publish(
    shop: Workshop, task: RpmTask, results: ResultDir, monitor: BuildMonitor, *, new: bool
) -> None:
    """Make the results count; without RPMs there is nothing that a repository could list."""
    if not new:
        results.mark_success()
        return

    def say(text: str) -> None:
        results.log(text)
        shop.say(f"build {task.task_id}: {text}")

    manners = Manners(who=who(task), say=say, check=monitor.fence)
    results.settle()
    rpmtask.publish(shop.config, task, manners)


def _leave_sources(shop: Workshop, srpm: Path, results: ResultDir, workdir: Path) -> None:
    """What a failed build leaves beside its logs: with what it failed."""
    package = _spec_of(shop, srpm, results, workdir)
    results.place([Artifact(path=srpm, package=package)])


def _spec_of(shop: Workshop, srpm: Path, results: ResultDir, workdir: Path) -> Package:
    inspect_dir = workdir / "inspect"
    inspect_dir.mkdir(mode=0o700)
    info = shop.builder.inspect(srpm, inspect_dir, shop.slot)
    results.write_spec(info.spec_name, info.spec)
    return info.package
