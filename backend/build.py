"""The steps of one build, from the frontend's record to the report that ends it.

A step that fails raises: BuildError ends the task as failed, every other error leaves it
unfinished, so that it is tried again.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backend import builderlogs, disk, layout, logtail, obtain, rpmtask, sign, triage
from backend import workdir as workdirs
from backend.admission import admit
from backend.builders import Artifact, Builder, BuildRequest, Package
from backend.config import Config
from backend.constants import Status
from backend.exceptions import (
    BuildError,
    Canceled,
    FrontendRefused,
    InfrastructureError,
)
from backend.frontend import Frontend
from backend.job import RpmTask, SourceTask, Task
from backend.monitor import FETCH, HANG, BuildMonitor
from backend.queues import Claim, Queues
from backend.repository import Manners
from backend.results import ResultDir, results_json_rpm, results_json_source
from backend.resume import earlier, resume, source_report, summary
from backend.site import Site

#: What a worker finally tells the frontend; None: nothing (canceled, or not wanted any more).
Report = dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What one worker builds with. `slot` numbers the workers of this machine from 0; `beat`
    promises the master a sign of life within so many seconds."""

    config: Config
    frontend: Frontend
    queues: Queues
    builder: Builder
    slot: int
    wakeup_fd: int
    say: Callable[..., None]
    event: Callable[..., str]
    beat: Callable[[float], None]
    #: Gives hosts (`backend.hosts.lease.Leases`); None: everything is built here.
    leases: Any = None


def run(shop: Workshop, claim: Claim) -> Report:
    """Build the claimed task.

    Raises FrontendError, InfrastructureError or ToolError when it must be tried again.
    """
    try:
        admitted = admit(shop.frontend, claim.task_id, embedded=shop.config.embedded)
    except FrontendRefused as error:
        shop.say(f"build {claim.task_id}: not wanted: {error}")
        return None
    if admitted is None:
        shop.say(f"build {claim.task_id}: the frontend does not want it any more")
        return None
    task, base = admitted.task, admitted.base
    _tell_start(shop, task)
    results = ResultDir(layout.result_path(shop.config.destdir, task))
    results.hold()
    try:
        if earlier(claim.attempt, task, results) and (done := resume(shop.config, task, results)):
            shop.say(f"build {task.task_id}: was ready already")
            return {**base, "status": int(Status.SUCCEEDED), **_ended(), **done}
        if isinstance(task, RpmTask) and results.used:  # nothing that is listed may vanish
            rpmtask.retract(shop.config, task, Manners(who=_who(task), say=shop.say))
        results.open(f"attempt {claim.attempt} on worker {claim.worker}")
        return _build(shop, claim, task, results, base)
    except Canceled as error:
        results.log(str(error))
        shop.say(f"build {task.task_id}: canceled", kind="task.canceled")
        return None
    except BuildError as error:
        if disk.low(shop.config.statedir) or disk.low(shop.config.destdir):
            raise InfrastructureError(f"failed on a full disk, free space: {error}") from error
        results.log(f"failed: {error}")
        shop.say(f"build {task.task_id}: failed: {error}", kind="task.failed")
        verdict = _triage(task, results, str(error))
        return {**base, "status": int(Status.FAILED), "failure": str(error), **verdict, **_ended()}
    finally:
        results.close()


def _tell_start(shop: Workshop, task: Task) -> None:
    text = f"build {task.task_id}: running ({task.owner}/{task.dirname})"
    if isinstance(task, RpmTask):
        event = shop.event(text, kind="task.running")
        shop.queues.tell_place(task.task_id, rpmtask.told(task), event)
    else:  # its place follows from its number
        shop.say(text, kind="task.running")


def _triage(task: Task, results: ResultDir, why: str) -> dict[str, Any]:
    """The class of a failure and its key lines, for the report; reading is no reason to fail."""
    tail = logtail.read(results.path / layout.BUILDER_LOG, triage.WINDOW)
    found = triage.diagnose(why, tail, source=isinstance(task, SourceTask))
    results.log(f"kind of failure: {found.kind}")
    return {"triage": found.to_dict()}


def _ended() -> dict[str, Any]:
    return {"ended_on": time.time()}


def _build(
    shop: Workshop,
    claim: Claim,
    task: SourceTask | RpmTask,
    results: ResultDir,
    base: Mapping[str, Any],
) -> Report:
    uploaded = isinstance(task, RpmTask) and bool(task.rpm_url)
    if shop.leases is None or uploaded or isinstance(task, SourceTask):
        identity = task.identity if isinstance(task, RpmTask) else ""
        results.write_info(task.build_id, layout.UPLOADED if uploaded else "local", identity)
    monitor = BuildMonitor(
        shop.queues,
        claim,
        results,
        wakeup_fd=shop.wakeup_fd,
        beat=shop.beat,
        deadline=time.monotonic() + shop.config.builder_timeout,
    )
    with workdirs.lent(shop.config, shop.builder, shop.slot, task.task_id) as workdir:
        if isinstance(task, SourceTask):
            extra = _source(shop, task, results, monitor, workdir)
        else:
            extra = _rpms(shop, task, results, monitor, workdir)
    results.log("succeeded")
    return {**base, "status": int(Status.SUCCEEDED), **_ended(), **extra}


def _bench(shop: Workshop, monitor: BuildMonitor, workdir: Path) -> obtain.Bench:
    return obtain.Bench(
        config=shop.config, builder=shop.builder, slot=shop.slot, monitor=monitor, workdir=workdir
    )


def _source(
    shop: Workshop, task: SourceTask, results: ResultDir, monitor: BuildMonitor, workdir: Path
) -> dict[str, Any]:
    try:
        with monitor.limit(time.monotonic() + shop.config.builder_timeout, FETCH):
            made, info = obtain.source(_bench(shop, monitor, workdir), task)
    except BuildError as error:
        results.output(f"error: {error}\n".encode())
        raise
    monitor.settled()
    package = info.package
    if len(package.name) > 100:
        raise BuildError(f"package name {package.name[:40]}… is longer than 100 characters")
    monitor.fence()
    results.place([Artifact(path=made.srpm, package=package)])
    results.write_spec(info.spec_name, info.spec)
    if made.checkout:
        results.write_document(layout.CHECKOUT, made.checkout.note())
    document = results_json_source(info, task.distributions)
    results.write_json(document)
    results.output(f"Source package {package.name} {package.evr} is ready\n".encode())
    results.mark_success()
    return source_report(shop.config, task, package, document)


def _rpms(
    shop: Workshop, task: RpmTask, results: ResultDir, monitor: BuildMonitor, workdir: Path
) -> dict[str, Any]:
    if task.rpm_url:
        return _uploaded(shop, task, results, monitor, workdir)
    started = time.time()
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
        srpm = obtain.for_rpms(_bench(shop, monitor, workdir), task, deadline)
    monitor.settled()
    request = rpmtask.request(
        shop.config, task, srpm=srpm, workdir=build_dir, slot=shop.slot, deadline=deadline
    )
    try:
        try:
            artifacts = _build_at_site(shop, task, results, monitor, request)
        finally:
            builderlogs.keep(build_dir, results.path)
    except BuildError:
        if task.git_repo:
            _leave_sources(shop, srpm, results, workdir)
            results.write_configs(rpmtask.settings(request))
        raise
    monitor.fence()
    results.log(f"built {len(artifacts)} packages, publishing")
    if task.git_repo:
        _spec_of(shop, srpm, results, workdir)
    results.place(_signed(shop, task, results, artifacts, workdir))
    results.write_configs(rpmtask.settings(request))
    packages = [artifact.package for artifact in artifacts]
    if artifacts and shop.config.repository_provenance:
        _record(shop, task, results, request, packages=packages, run=(monitor.attempt, started))
    return _published(shop, task, results, monitor, packages)


def _uploaded(
    shop: Workshop, task: RpmTask, results: ResultDir, monitor: BuildMonitor, workdir: Path
) -> dict[str, Any]:
    """Publish a package that was built elsewhere: what a build leaves, but for what tells how it
    was built."""
    with monitor.limit(time.monotonic() + shop.config.builder_timeout, FETCH):
        artifact = obtain.binary(_bench(shop, monitor, workdir), task)
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
    document = results_json_rpm(packages)
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


def _check_chroot(task: RpmTask, builder: Builder, where: str = "here: this host") -> None:
    if task.chroot not in builder.chroots():
        have = ", ".join(map(str, builder.chroots()))
        raise BuildError(f"chroot {task.chroot} cannot be built {where} builds {have}")


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
        _check_chroot(task, site.builder, f"on host {site.name}: it")
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

    manners = Manners(who=_who(task), say=say, check=monitor.fence)
    results.settle()
    rpmtask.publish(shop.config, task, manners)


def _who(task: Task) -> str:
    return f"build {task.task_id} (pid {os.getpid()})"


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
