"""How a claimed task is asked for and announced: the protocol's way, or the short one."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.constants import SRPM_CHROOT, Status
from backend.exceptions import ProtocolError
from backend.frontend import Frontend
from backend.job import RpmTask, SourceTask
from backend.taskfields import split_task_id


@dataclass(frozen=True)
class Admitted:
    """A task that the frontend knows as running; `base` is what every report must repeat."""

    task: SourceTask | RpmTask
    base: Mapping[str, Any]


def admit(frontend: Frontend, task_id: str, *, embedded: bool) -> Admitted | None:
    """Get the task, and have it shown as running; None when it was canceled.

    The embedded frontend does it in one request; an answer without the task means that it
    does not. Raises what Frontend raises, and ProtocolError.
    """
    return _short_way(frontend, task_id) if embedded else _long_way(frontend, task_id)


def _long_way(frontend: Frontend, task_id: str) -> Admitted | None:
    record = frontend.task(task_id)
    if record is None:  # it stays in the list of unfinished tasks until its end is reported
        raise ProtocolError("the project does not have this chroot any more")
    admitted = _admitted(task_id, record, time.time())
    if not frontend.starting({**admitted.base, "status": int(Status.STARTING)}).granted:
        return None
    frontend.update([{**admitted.base, "status": int(Status.RUNNING)}])
    return admitted


def _short_way(frontend: Frontend, task_id: str) -> Admitted | None:
    number, _, chroot = task_id.partition("-")
    now = time.time()
    request = {
        "id": int(number),
        "build_id": int(number),
        "task_id": task_id,
        "chroot": chroot or SRPM_CHROOT,
        "status": int(Status.STARTING),
        "started_on": now,
        "want_task": True,
    }
    answer = frontend.starting(request)
    if answer.granted and answer.task is None:
        return _long_way(frontend, task_id)
    return _admitted(task_id, answer.task, now) if answer.granted and answer.task else None


def _admitted(task_id: str, record: Mapping[str, Any], now: float) -> Admitted:
    task = (SourceTask if task_id.isdigit() else RpmTask).from_record(record)
    if task.task_id != task_id or task.build_id != split_task_id(task_id)[0]:
        raise ProtocolError(f"the frontend answers with task {task.task_id!r:.80} instead")
    base = {
        "id": task.build_id,
        "build_id": task.build_id,
        "task_id": task.task_id,
        "chroot": task.chroot_dir,
        "result_dir": task.result_dir,  # left out, the frontend would forget it
        "started_on": now,
    }
    return Admitted(task, base)
