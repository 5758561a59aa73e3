"""A worker: one task at a time, from claim to report."""

import contextlib
import os
import select
import signal
import time
from functools import partial
from typing import Any

import redis

from backend import build, workdir
from backend.builders import Builder
from backend.config import Config, Group
from backend.constants import SRPM_CHROOT, Status
from backend.daemons import child
from backend.daemons.board import beat
from backend.daemons.retire import Retirement
from backend.events import Events
from backend.exceptions import (
    Canceled,
    FrontendBroken,
    FrontendError,
    FrontendRefused,
    HostError,
    InfrastructureError,
    Killed,
    ProtocolError,
    Stopped,
    ToolError,
)
from backend.frontend import Frontend
from backend.line import Line
from backend.monitor import STEP
from backend.processid import ProcessId
from backend.queues import Claim, Queues
from backend.redis_server import BLOCK_SECONDS, connect
from backend.triage import Diagnosis, Kind
from backend.workshop import Workshop

#: Pause after a fault of the frontend or of Redis, in seconds.
PAUSE = 1.0
#: After so many tries in vain, trouble is the task's alone if the list of tasks comes meanwhile.
FEW = 3
#: The longest pause between two tries of a build that the farm cannot do, in seconds.
LONGEST_PAUSE = 30.0
#: So many hosts may fail under a task; after that it is failed.
MOST_HOSTS = 3
#: Of the report: it was not the package.
_FARM = Diagnosis(kind=Kind.INFRASTRUCTURE, lines=()).to_dict()
#: An idle worker is heard of again so long after its wait for a task, in seconds.
IDLE_GRACE = 30.0


class Worker:
    """One slot of a group. `slot` is unique on this machine and picks the build's user id."""

    def __init__(
        self,
        config: Config,
        group: Group,
        *,
        number: int,
        slot: int,
        password: str,
        builder: Builder,
    ) -> None:
        process = ProcessId.of(os.getpid())
        assert process
        self._process = process
        self._group = group
        # The pid makes it unique: a claim is never mistaken for that of a successor.
        self.name = f"{group.id}-{number}-{process.pid}"
        self._title = f"worker {group.id}-{number}"
        # One client serves both: blocking claims and short commands, hence the long timeout.
        self._queues = Queues(connect(config, timeout=BLOCK_SECONDS + 10, kind=Line))
        self._events = Events(self._queues.client, f"worker-{group.id}-{number}")
        self._client_id = 0
        self._connect = partial(connect, config, timeout=1.0)
        self._retirement = Retirement(self._unblock)
        self._busy_promise = config.builder_timeout + STEP
        self._max_attempts = config.max_attempts
        self._trouble_timeout = config.trouble_timeout
        self._shop = Workshop(
            config=config,
            frontend=Frontend(config.frontend_url, password),
            queues=self._queues,
            builder=builder,
            slot=slot,
            wakeup_fd=child.wakeup_pipe(signal.SIGUSR1),
            say=self._events.emit,
            event=self._events.text,
            beat=partial(beat, busy=True),
            leases=self._leases(config, builder) if group.pooled else None,
        )

    def _leases(self, config: Config, builder: Builder) -> Any:
        """Only who builds elsewhere needs all that."""
        from backend.hosts.lease import Leases  # noqa: PLC0415

        return Leases(
            config,
            self._group,
            self._queues.client,
            worker=self.name,
            process=self._process,
            local=builder,
            say=self._events.emit,
        )

    def run(self) -> None:
        """Work until the process is ended by a signal, or retired by SIGUSR2."""
        self._retirement.listen()
        shop = self._shop
        workdir.sweep(shop.config, shop.builder, shop.slot, partial(shop.say, level="error"))
        registered = False
        child.title(f"{self._title} idle")
        while not self._retirement.asked:
            try:
                if not registered:
                    self._let_go()
                    self._queues.register(self.name, self._group.id, self._process)
                    client: Any = self._queues.client
                    self._client_id = int(client.client_id())
                    registered = True
                self.once(int(BLOCK_SECONDS))
            except redis.RedisError as error:
                # That it is away is the master's to say, once for all.
                if registered and not isinstance(error, redis.ConnectionError | redis.TimeoutError):
                    self._events.emit(f"Redis trouble: {error}", "warning")
                registered = False  # a new server knows nothing of us
                beat(IDLE_GRACE)
                select.select([], [], [], PAUSE)

    def _let_go(self) -> None:
        """Drop a claim whose answer got lost: it would be ours for ever. Whether the task is
        still to be built only the frontend knows: Redis may have forgotten a moment."""
        if self._queues.holds(self.name):
            self._queues.bury(self.name)
            self._queues.wake("dead")

    def once(self, block: int) -> None:
        """Wait up to `block` seconds for a task, and do it."""
        beat(block + IDLE_GRACE)
        try:
            with self._retirement.interruptible():
                claim = self._queues.claim(self._group.id, self.name, block)
        except ProtocolError as error:
            self._events.emit(str(error), "error")
            return
        if claim:
            beat(self._busy_promise, busy=True)
            child.title(f"{self._title} {claim.task_id}")
            self._work(claim)
            child.title(f"{self._title} idle")

    def complain(self, text: str) -> None:
        """Say why this worker ends."""
        self._events.emit(text, "error")

    def _unblock(self) -> None:
        """End our own blocking claim, over a second connection."""
        client: Any = self._connect()
        try:
            client.execute_command("CLIENT UNBLOCK", self._client_id)
        finally:
            client.connection_pool.disconnect()

    def _work(self, claim: Claim) -> None:
        try:
            self._finish(claim, build.run(self._shop, claim))
        except FrontendBroken as error:
            self._broken(claim, str(error))
        except FrontendError as error:
            self._again(claim, str(error), alone=False)
        except (FrontendRefused, Killed, ToolError) as error:
            self._fault(claim, str(error), self._max_attempts)
        except HostError as error:
            self._host_failed(claim, str(error))
        except (InfrastructureError, OSError) as error:
            self._fault(claim, str(error))
        except Stopped as error:
            self._events.emit(f"build {claim.task_id}: {error}", "warning")
            self._finish(claim, None)
        except ProtocolError as error:
            self._events.emit(f"build {claim.task_id}: {error}", "error")
            self._finish(claim, self._failed(claim.task_id, str(error)))

    def _host_failed(self, claim: Claim, why: str) -> None:
        """The build moves to another host; not for ever, since it may be its own doing."""
        host = self._shop.leases.last if self._shop.leases else "local"
        faults = self._queues.note_host_fault(claim.task_id, host, why)
        if len(faults) < MOST_HOSTS:
            text = f"build {claim.task_id}: host {host} failed, moving to another: {why}"
            self._events.emit(text, "error", kind="host.fault")
            self._queues.give_back(self.name, self._group.id)
            return
        told = "; ".join(f"{name.rstrip(chr(39))}: {text}" for name, text in faults.items())
        text = f"{len(faults)} hosts failed under it, it is given no more: {told}"
        self._events.emit(f"build {claim.task_id}: failed: {text}", "error", kind="task.failed")
        self._finish(claim, self._failed(claim.task_id, text) | {"triage": _FARM})

    def _again(self, claim: Claim, why: str, *, alone: bool) -> None:
        """Once more; `alone`: the trouble is this task's, and is to hold up no other."""
        tries = self._queues.count_trouble(claim.task_id)
        if tries & (tries - 1) == 0:  # once a second would bury everything else in the log
            often = f" ({tries} times by now)" if tries > 2 else ""
            text = f"build {claim.task_id}: given back{often}: {why}"
            self._events.emit(text, "warning", kind="task.again")
        if alone or (tries >= FEW and not self._queues.frontend_away()):
            self._queues.put_off(claim)
            return
        select.select([], [], [], PAUSE)
        self._queues.give_back(self.name, self._group.id)

    def _broken(self, claim: Claim, why: str) -> None:
        """An answer, or a server behind it, is of no use: try again, but not for ever."""
        if self._queues.trouble_age(claim.task_id, time.time()) < self._trouble_timeout:
            self._again(claim, why, alone=True)
            return
        text = f"given up after {self._trouble_timeout} s of trouble, the last: {why}"
        self._events.emit(f"build {claim.task_id}: failed: {text}", "error", kind="task.failed")
        self._finish(claim, self._failed(claim.task_id, text))

    def _failed(self, task_id: str, why: str) -> dict[str, object]:
        return failed_report(task_id, why, self._queues.place(task_id))

    def _finish(self, claim: Claim, report: build.Report) -> None:
        """End the claim. Waits for a Redis that is away: what is built is not built again."""
        event = ""
        if report and report.get("status") == Status.SUCCEEDED:
            event = self._events.text(f"build {claim.task_id}: succeeded", kind="task.succeeded")
        while True:
            beat(self._busy_promise)
            try:
                if not self._queues.finish(claim, report, event):
                    text = f"build {claim.task_id}: its claim had ended, or a newer start took over"
                    self._events.emit(text, "warning")
            except Canceled as error:
                self._events.emit(f"build {claim.task_id}: {error}")
                report, event = None, ""
            except redis.RedisError as error:
                self._events.emit(f"build {claim.task_id}: finished, Redis is away: {error}")
                select.select([], [], [], PAUSE)
            else:
                return

    def _fault(self, claim: Claim, why: str, limit: int = 0) -> None:
        """Try again, less and less often: the farm's own fault (no `limit`) fails no build."""
        faults = self._queues.count_fault(claim.task_id)
        if limit and faults >= limit:
            text = f"given up after {faults} faults of the build farm, the last: {why}"
            self._finish(claim, self._failed(claim.task_id, text))
            return
        text = f"build {claim.task_id}: farm trouble ({faults}), trying again: {why}"
        self._events.emit(text, "error", kind="farm.trouble")
        with contextlib.suppress(FrontendError, FrontendRefused):  # it only looks better
            self._shop.frontend.reschedule(claim.task_id)
        select.select([self._shop.wakeup_fd], [], [], min(PAUSE * faults, LONGEST_PAUSE))
        self._queues.give_back(self.name, self._group.id)


def failed_report(task_id: str, why: str, result_dir: str = "") -> dict[str, object]:
    """The report of a task that failed without (or before) a build.

    `result_dir` is what an earlier start told, if there was one: the frontend forgets it
    when it is left out.
    """
    number, _, chroot = task_id.partition("-")
    return {
        "id": int(number),
        "build_id": int(number),
        "task_id": task_id,
        "chroot": chroot or SRPM_CHROOT,
        "status": int(Status.FAILED),
        "result_dir": result_dir if chroot else f"{int(number):08d}",
        "failure": why,
    }


def main(
    config: Config,
    group: Group,
    *,
    number: int,
    slot: int,
    password: str,
    builder: Builder,
    parent: int,
) -> None:
    """Entry point of a forked worker process."""
    child.become(f"worker {group.id}-{number} starting", parent)
    worker = Worker(config, group, number=number, slot=slot, password=password, builder=builder)
    child.main(worker.run, worker.complain)
