"""The master: reads the configuration, opens the queues, keeps processes alive, stops them.

It owns no task and does no I/O that can block for long. Signal handlers note, the loop acts.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from backend import pool
from backend.builders.plugin import load_builder
from backend.config import DEFAULT_PATH, Config, load
from backend.daemons import actions, child, job_grab, log, orphans, web, worker
from backend.daemons.prepare import check_directories, check_tools, frontend_password
from backend.events import Events
from backend.exceptions import ConfigError, CoprBackendError
from backend.locks import PidFile
from backend.notify import notify
from backend.queues import Queues
from backend.redis_server import EmbeddedRedis, connect

#: fork, by name: the start method that newer Pythons no longer default to.
_fork = multiprocessing.get_context("fork")
#: The loop turns at least this often, in seconds, to look at what sends no signal.
TURN = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class CoprBackend:
    """The daemon. `ext_opts`: `exit_on_worker`, `foreground`, `pidfile`, `overrides`."""

    def __init__(
        self, config_file: str | Path | None = None, ext_opts: Mapping[str, Any] | None = None
    ) -> None:
        self.config_file = Path(config_file or DEFAULT_PATH)
        self.ext_opts: Mapping[str, Any] = ext_opts or {}
        self.opts: Config = self._load()
        self.workers_by_group_id: dict[int, list[BaseProcess]] = {}
        self.task_queues: dict[int, Any] = {}
        self.helpers: dict[str, BaseProcess] = {}
        self.stopping = False
        self._young: dict[int, int] = {}
        self._not_before: dict[int, float] = {}
        self._born: dict[int, float] = {}
        self._place: dict[int, int] = {}
        self._builder = load_builder(self.opts)
        self._pidfile = PidFile(
            Path(self.ext_opts.get("pidfile") or self.opts.rundir / "copr-be.pid")
        )
        self._redis: EmbeddedRedis | None = None
        self._listener: Any = None
        self._password = ""
        self._events: Events | None = None
        self._queues: Queues | None = None
        self._wakeup = -1

    # --- configuration --------------------------------------------------------------------

    def _load(self) -> Config:
        return load(self.config_file, self.ext_opts.get("overrides"))

    def update_conf(self) -> None:
        """Read the configuration again; a bad one changes nothing and is reported once.

        Groups and their `max_workers` take effect at once, everything else at a restart.
        """
        try:
            self.opts = self._load()
        except ConfigError as error:
            text = f"configuration not reloaded, the old one stays: {error}"
            self.event(text, "error", kind="config.refused")
            return
        self.event("configuration reloaded", kind="config.reloaded")

    # --- queues ---------------------------------------------------------------------------

    def init_task_queues(self) -> None:
        """Connect one retask queue `copr-be-<id>` per group and remove what is left in it."""
        self._queues = Queues(connect(self.opts))
        self._events = Events(self._queues.client, "main")
        for group in self.opts.groups:
            self.task_queues[group.id] = self._queues.queue(group.id)
        self.clean_task_queues()

    def clean_task_queues(self) -> None:
        """Empty the queues and claims: the frontend still has every task."""
        if self._queues:
            for group_id in self.task_queues:
                self._queues.clean(group_id)
            for name in {*self._queues.claims(), *self._queues.workers()}:
                self._queues.bury(name)

    # --- processes ------------------------------------------------------------------------

    def _start(self, target: Callable[..., None], *args: Any, **kwargs: Any) -> BaseProcess:
        def run() -> None:
            self._pidfile.abandon()
            if self._redis:
                self._redis.forget()
            if self._listener is not None and target is not web.main:
                self._listener.close()
            target(*args, **kwargs)

        process = _fork.Process(target=run)
        process.start()
        assert process.pid
        self._born[process.pid] = time.monotonic()
        return process

    def init_sub_process(self) -> None:
        """Start what is not running of: log process, job grabber, embedded frontend."""
        me = os.getpid()
        if not self._helper_alive("log"):
            self.helpers["log"] = self._start(
                log.main, self.opts, bool(self.ext_opts.get("foreground", True)), me
            )
        if self.opts.embedded and not self._helper_alive("web"):
            self.helpers["web"] = self._start_web(me)
        if not self._helper_alive("jobgrab"):
            self.helpers["jobgrab"] = self._start(job_grab.main, self.opts, self._password, me)
        # The embedded frontend hands out no actions: it does such work itself.
        if not self.opts.embedded and not self._helper_alive("actions"):
            self.helpers["actions"] = self._start(actions.main, self.opts, self._password, me)

    def _helper_alive(self, name: str) -> bool:
        process = self.helpers.get(name)
        if process is None:
            return False
        if process.is_alive():
            return True
        text = f"helper process {name} ended ({_how(process)}), starting it again"
        self.event(text, "warning", kind="helper.revived")
        self._reap(process)
        return False

    def _start_web(self, me: int) -> BaseProcess:
        reader, writer = os.pipe()
        process = self._start(
            web.main,
            self.opts,
            self._listener,
            password=self._password,
            chroots=tuple(str(chroot) for chroot in self._builder.chroots()),
            ready_fd=writer,
            parent=me,
        )
        os.close(writer)
        answer = b""
        with contextlib.closing(os.fdopen(reader, "rb", buffering=0)) as pipe:
            if select.select([pipe], [], [], 60)[0]:
                answer = pipe.read(65536) or b""
        if answer[:1] != b"R":
            process.join(1)
            reason = answer[1:].decode("utf-8", "replace") or "it did not get ready"
            raise CoprBackendError(f"the embedded frontend did not start: {reason}")
        return process

    def spin_up_workers_by_group(self, group: Mapping[str, int]) -> None:
        """Start the workers that the group (`id`, `max_workers`) lacks."""
        group_id = group["id"]
        workers = self.workers_by_group_id.setdefault(group_id, [])
        if time.monotonic() < self._not_before.get(group_id, 0.0):
            return
        used = {self._place[process.pid] for process in workers if process.pid}
        first = sum(g.max_workers for g in self.opts.groups if g.id < group_id)
        for number in pool.missing_slots(used, group["max_workers"]):
            process = self._start(
                worker.main,
                self.opts,
                self.opts.groups[group_id],
                number=number,
                slot=first + number,
                password=self._password,
                builder=self._builder,
                parent=os.getpid(),
            )
            assert process.pid
            self._place[process.pid] = number
            workers.append(process)

    def prune_dead_workers_by_group_id(self, group_id: int) -> list[BaseProcess]:
        """Forget dead workers and return the living ones.

        Raises CoprBackendError when one died and `exit_on_worker` is set.
        """
        alive = []
        for process in self.workers_by_group_id.get(group_id, []):
            if process.is_alive():
                alive.append(process)
            else:
                self._bury_worker(group_id, process)
        self.workers_by_group_id[group_id] = alive
        return alive

    def _bury_worker(self, group_id: int, process: BaseProcess) -> None:
        text = f"worker {process.pid} of group {group_id} died ({_how(process)})"
        age = self._reap(process)
        self._young[group_id] = self._young.get(group_id, 0) + 1 if age < pool.YOUNG else 0
        delay = pool.restart_delay(self._young[group_id])
        self._not_before[group_id] = time.monotonic() + delay
        self.event(text, "warning", kind="worker.died")
        if self.ext_opts.get("exit_on_worker") or self.opts.exit_on_worker:
            raise CoprBackendError(f"{text}, and exit_on_worker is set")
        with contextlib.suppress(Exception):  # the grabber also looks by itself
            if self._queues:
                self._queues.wake("dead")

    def _reap(self, process: BaseProcess) -> float:
        process.join()
        assert process.pid
        self._place.pop(process.pid, None)
        return time.monotonic() - self._born.pop(process.pid, 0.0)

    # --- events and signals ---------------------------------------------------------------

    def event(self, what: str, level: str = "info", *, kind: str = "", data: Any = None) -> None:
        """Put `{when, who: "main", what}` on the event stream."""
        if self._events:
            self._events.emit(what, level, kind=kind, data=data)

    def _wait(self, timeout: float) -> None:
        received: set[int] = set()
        if select.select([self._wakeup], [], [], timeout)[0]:
            with contextlib.suppress(BlockingIOError):
                received = set(os.read(self._wakeup, 4096))
        if received & {signal.SIGTERM, signal.SIGINT}:
            self.stopping = True
        if signal.SIGHUP in received:
            self.update_conf()

    # --- life -----------------------------------------------------------------------------

    def run(self) -> None:
        """Start everything, supervise it until asked to stop, and leave nothing behind."""
        check_directories(self.opts)
        check_tools(self.opts)
        self._builder.preflight()
        self._pidfile.acquire()
        self._wakeup = child.wakeup_pipe(*_SIGNALS)
        orphans.adopt()
        try:
            self._begin()
            notify(READY="1", STATUS=f"serving {self.opts.frontend_url}")
            self.event(f"ready, serving {self.opts.frontend_url}", kind="daemon.ready")
            while not self.stopping:
                self.once()
                self._wait(TURN)
        finally:
            notify(STOPPING="1")
            self.terminate()

    def _begin(self) -> None:
        child.title("master")
        self._password = frontend_password(self.opts)
        if self.opts.embedded:
            self._listener = web.listen(self.opts)
        if not self.opts.redis_url:
            self._redis = EmbeddedRedis(self.opts)
            self._redis.start()
        try:
            self.init_task_queues()
        except Exception as error:
            raise CoprBackendError(f"cannot use Redis: {error}: correct redis_url") from error
        self.init_sub_process()
        self.once()

    def once(self) -> None:
        """One turn: revive what died, start what is missing."""
        if self._redis and not self._redis.alive:
            self._redis.stop()
            self._redis.start()
            text = "the private redis-server ended, started it again"
            self.event(text, "error", kind="redis.revived")
        for group in self.opts.groups:
            self.prune_dead_workers_by_group_id(group.id)
            self.spin_up_workers_by_group({"id": group.id, "max_workers": group.max_workers})
        self.init_sub_process()
        orphans.reap(self._own())

    def _own(self) -> set[int]:
        """Children that are waited for elsewhere."""
        return {*self._born, self._redis.pid if self._redis else 0}

    def terminate(self) -> None:
        """Stop all processes within `stop_timeout`, and leave the queues empty."""
        self.stopping = True
        everyone = [p for workers in self.workers_by_group_id.values() for p in workers]
        # The grabber first, so that nothing is enqueued any more; the log process last.
        names = [name for name in ("jobgrab", "actions", "web") if name in self.helpers]
        self._stop([self.helpers.pop(name) for name in names] + everyone)
        self.workers_by_group_id.clear()
        orphans.end(self._own(), self.opts.stop_timeout / 4)
        with contextlib.suppress(Exception):  # Redis may be what broke
            self.clean_task_queues()
            self.event("stopped", kind="daemon.stopped", data={"pid": os.getpid()})
            self.helpers["log"].join(self.opts.stop_timeout / 4)  # ends itself, all written
        self._stop(list(self.helpers.values()))
        self.helpers.clear()
        if self._redis:
            self._redis.stop()
        if self._listener is not None:
            self._listener.close()
        self._pidfile.release()

    def _stop(self, processes: list[BaseProcess]) -> None:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + self.opts.stop_timeout / 2
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
            self._reap(process)


def _how(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def run_backend(
    config_file: str | Path | None = None, ext_opts: Mapping[str, Any] | None = None
) -> None:
    """Run the daemon in this process until it is stopped; raises CoprBackendError."""
    CoprBackend(config_file, ext_opts).run()
