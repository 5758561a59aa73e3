"""The steps of one build, from the frontend's record to the report that ends it.

A step that fails raises: BuildError ends the task as failed, every other error leaves it
unfinished, so that it is tried again.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend import disk, layout, logtail, obtain, resultsjson, rpmtask, triage
from backend import workdir as workdirs
from backend.admission import admit
from backend.builders import Artifact
from backend.constants import Status
from backend.exceptions import (
    BuildError,
    Canceled,
    FrontendRefused,
    InfrastructureError,
)
from backend.job import RpmTask, SourceTask, Task
from backend.monitor import FETCH, BuildMonitor
from backend.queues import Claim
from backend.repository import Manners
from backend.results import ResultDir
from backend.resume import earlier, resume, source_report
from backend.rpmstep import rpms
from backend.workshop import Workshop, bench, who

#: What a worker finally tells the frontend; None: nothing (canceled, or not wanted any more).
Report = dict[str, Any] | None


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
            rpmtask.retract(shop.config, task, Manners(who=who(task), say=shop.say))
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
            extra = rpms(shop, task, results, monitor, workdir)
    results.log("succeeded")
    return {**base, "status": int(Status.SUCCEEDED), **_ended(), **extra}


def _source(
    shop: Workshop, task: SourceTask, results: ResultDir, monitor: BuildMonitor, workdir: Path
) -> dict[str, Any]:
    try:
        with monitor.limit(time.monotonic() + shop.config.builder_timeout, FETCH):
            made, info = obtain.source(bench(shop, monitor, workdir), task)
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
    document = resultsjson.of_source(info, task.distributions)
    results.write_json(document)
    results.output(f"Source package {package.name} {package.evr} is ready\n".encode())
    results.mark_success()
    return source_report(shop.config, task, package, document)
