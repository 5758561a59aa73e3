"""Which processes run: the master's children and the queues they work on."""

import contextlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from backend.builders.plugin import load_builder
from backend.config import DEFAULT_PATH, Config, load
from backend.daemons import actions, job_grab, log, web, worker
from backend.daemons.confwatch import ConfigWatch
from backend.daemons.crew import Crew
from backend.daemons.family import Family, Process, shed_garbage
from backend.daemons.helpers import Helpers
from backend.daemons.keeper import RedisKeeper
from backend.daemons.signals import Signals
from backend.events import Events
from backend.exceptions import CoprBackendError
from backend.locks import Dwelling, PidFile
from backend.notify import Watchdog
from backend.queues import Queues


class Supervisor:
    """What CoprBackend supervises, and how each process is started; see there."""

    def __init__(
        self, config_file: str | Path | None = None, ext_opts: Mapping[str, Any] | None = None
    ) -> None:
        self.config_file = Path(config_file or DEFAULT_PATH)
        self.ext_opts: Mapping[str, Any] = ext_opts or {}
        self._watch = ConfigWatch(self.config_file)
        self.opts: Config = self._load()
        self.family = Family(self._in_child)
        self.crew = Crew(self.family)
        self.helpers = Helpers(self.family, self.event)
        self.workers_by_group_id: dict[int, list[Process]] = self.crew.workers
        self.task_queues: dict[int, Any] = {}
        self.signals = Signals()
        self._builder = load_builder(self.opts)
        self._pidfile = PidFile(
            Path(self.ext_opts.get("pidfile") or self.opts.rundir / "copr-be.pid")
        )
        self._dwelling = Dwelling(self.opts.statedir, "statedir")
        self._keeper: RedisKeeper | None = None
        self._listener: Any = None
        self._password = ""
        self._events: Events | None = None
        self._queues: Queues | None = None
        self._watchdog = Watchdog(os.environ, os.getpid())
        self._bad_config = ""
        self._reread_at = 0.0
        self._shown = ""
        self._returned = False

    def _load(self) -> Config:
        return load(self.config_file, self.ext_opts.get("overrides"))

    # --- queues ---------------------------------------------------------------------------

    def init_task_queues(self) -> None:
        """Connect one retask queue `copr-be-<id>` per group and remove what is left in it.

        While Redis is away that waits; nothing that needs it is started before.
        """
        if self._keeper is None:
            self._keeper = RedisKeeper(self.opts, self.event)
        self._queues = Queues(self._keeper.client)
        self._events = Events(self._keeper.client, "main")
        for group in self.opts.groups:
            self.task_queues[group.id] = self._queues.queue(group.id)

    def clean_task_queues(self) -> None:
        """Empty the queues and claims: the frontend still has every task."""
        if self._queues:
            for group_id in self.task_queues:
                self._queues.clean(group_id)
            for name in {*self._queues.claims(), *self._queues.workers()}:
                self._queues.bury(name)

    # --- processes ------------------------------------------------------------------------

    def _in_child(self, name: str) -> None:
        self._pidfile.abandon()
        self._dwelling.release()
        if self._keeper:
            self._keeper.forget()
        if self._listener is not None and name != "web":
            self._listener.close()

    def init_sub_process(self) -> None:
        """Start what is not running of: log process, job grabber, embedded frontend."""
        me = os.getpid()
        if self.opts.embedded and self.helpers.due("web"):
            work = partial(
                web.main,
                self.opts,
                self._listener,
                password=self._password,
                chroots=tuple(str(chroot) for chroot in self._builder.chroots()),
                parent=me,
            )
            self.helpers.start("web", work)
        if self._keeper and self._keeper.up:
            if self.helpers.due("log"):
                foreground = bool(self.ext_opts.get("foreground", True))
                self.helpers.start("log", partial(log.main, self.opts, foreground, me))
            if self.helpers.due("jobgrab"):
                work = partial(job_grab.main, self.opts, self._password, me)
                self.helpers.start("jobgrab", work)
            if self.helpers.due("actions"):
                work = partial(actions.main, self.opts, self._password, me)
                self.helpers.start("actions", work)
            if self._needs_hosts() and self.helpers.due("hosts"):
                self.helpers.start("hosts", partial(_keep_hosts, self.opts, me))

    def _needs_hosts(self) -> bool:
        """A group builds elsewhere, or machines of one that did are still there."""
        if "hosts" in self.helpers.running:
            return False
        if any(group.pooled for group in self.opts.groups):
            return True
        with contextlib.suppress(OSError):
            record = self.opts.statedir / "hosts" / "machines.json"
            return record.stat().st_size > len("[]")
        return False

    def spin_up_workers_by_group(self, group: Mapping[str, int]) -> None:
        """Start the workers that the group (`id`, `max_workers`) lacks; retire surplus ones."""
        group_id, limit = group["id"], group["max_workers"]
        if self.crew.retire(group_id, keep=limit):
            self.event(f"group {group_id}: at most {limit} workers from now on")
        numbers = self.crew.due(group_id, limit)
        if numbers and self.opts.groups[group_id].pooled:
            import backend.hosts.lease  # noqa: F401, PLC0415  (once, instead of in each worker)
        if numbers:
            shed_garbage()
        for number in numbers:
            work = partial(
                worker.main,
                self.opts,
                self.opts.groups[group_id],
                number=number,
                password=self._password,
                builder=self._builder,
                parent=os.getpid(),
            )
            self.crew.start(group_id, number, lambda slot, work=work: work(slot=slot))  # type: ignore[misc]

    def prune_dead_workers_by_group_id(self, group_id: int) -> list[Process]:
        """Forget dead workers and return the living ones.

        Raises CoprBackendError when one died and `exit_on_worker` is set, or when the
        workers of the group cannot even start.
        """
        buried = self.crew.bury(group_id)
        for process, death in buried:
            if process.retiring or death.asked:
                self.event(f"worker {process.pid} of group {group_id} has gone as asked", "debug")
                continue
            text = f"worker {process.pid} of group {group_id} died ({process.how})"
            self.event(text, "warning", kind="worker.died")
            if self.ext_opts.get("exit_on_worker") or self.opts.exit_on_worker:
                raise CoprBackendError(f"{text}, and exit_on_worker is set")
        if buried:
            self._wake("dead")
        return self.crew.workers.get(group_id, [])

    def _wake(self, why: str) -> None:
        if self._queues and self._keeper and self._keeper.up:
            with contextlib.suppress(Exception):  # the grabber also looks by itself
                self._queues.wake(why)

    # --- events

    def event(self, what: str, level: str = "info", *, kind: str = "", data: Any = None) -> None:
        """Put `{when, who: "main", what}` on the event stream."""
        if self._events:
            self._events.emit(what, level, kind=kind, data=data)


def _keep_hosts(config: Config, parent: int) -> None:
    """What only this helper needs is imported only there."""
    from backend.daemons import hosts  # noqa: PLC0415

    hosts.main(config, parent)
