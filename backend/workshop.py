"""What a worker builds with, whatever the task."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import obtain
from backend.builders import Builder
from backend.config import Config
from backend.frontend import Frontend
from backend.job import Task
from backend.monitor import BuildMonitor
from backend.queues import Queues


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


def bench(shop: Workshop, monitor: BuildMonitor, workdir: Path) -> obtain.Bench:
    """Where the sources of one task are obtained."""
    return obtain.Bench(
        config=shop.config, builder=shop.builder, slot=shop.slot, monitor=monitor, workdir=workdir
    )


def who(task: Task) -> str:
    """The name under which locks are held for it."""
    return f"build {task.task_id} (pid {os.getpid()})"
