"""The master: reads the configuration, opens the queues, keeps processes alive, stops them.

It owns no task and does no I/O that can block for long. Signal handlers note, the loop acts.
"""

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis

from backend.builders import cgroup
from backend.builders.plugin import load_builder, try_out
from backend.config import Config
from backend.daemons import child, drain, orphans, tidy, web
from backend.daemons.family import shed_garbage
from backend.daemons.prepare import (
    check_compression,
    check_directories,
    check_program,
    check_tools,
    frontend_password,
)
from backend.daemons.signals import DRAIN, RESUME
from backend.daemons.supervisor import Supervisor
from backend.exceptions import CoprBackendError
from backend.identity import Identity
from backend.notify import notify, reloading
from backend.redis_server import check_url
from backend.reload import Change, compare, stale_groups

#: The loop turns at least this often, in seconds, to look at what sends no signal.
TURN = 1.0
#: A refused configuration is tried again so often, in seconds: a full disk may be to blame.
REREAD = 10.0


class CoprBackend(Supervisor):
    """The daemon. `ext_opts`: `exit_on_worker`, `foreground`, `pidfile`, `overrides`, and
    `ready`, which is called once it serves."""

    # --- configuration --------------------------------------------------------------------

    def update_conf(self) -> None:
        """Read the configuration again; a bad one changes nothing and is reported once.

        Children that use what changed are started anew: helpers at once, workers after the
        build in hand. What only a restart can change is named and keeps its old value.
        """
        reloading()
        self._bad_config = ""
        self._read_conf()
        self._shown = ""
        notify(READY="1", STATUS=self._status())

    def _read_conf(self) -> None:
        self._watch.read_now()
        self._reread_at = time.monotonic() + REREAD
        before, self._bad_config = self._bad_config, ""
        try:
            change = compare(self.opts, self._load())
            self._adopt(change)
        except CoprBackendError as error:
            self._bad_config = f"configuration not reloaded, the old one stays: {error}"
            if self._bad_config != before:
                self.event(self._bad_config, "error", kind="config.refused")

    def _adopt(self, change: Change) -> None:
        builder, password = self._builder, self._password
        if any(name.startswith("builder_") for name in change.changed):
            builder = load_builder(change.config)
            try_out(change.config, builder)
        if "frontend_auth" in change.changed:
            password = frontend_password(change.config)
        check_tools(change.config)
        check_compression(change.config)
        check_directories(change.config)
        old, self.opts = self.opts, change.config
        self._builder, self._password = builder, password
        what = ", ".join(sorted(change.changed)) or "nothing changed"
        self.event(f"configuration reloaded: {what}", kind="config.reloaded")
        if change.pending:
            names = ", ".join(sorted(change.pending))
            self.event(f"these options take effect at the next start: {names}", "warning")
        self._regroup(old, change)
        self.helpers.replace(change.users - {"worker"})

    def _regroup(self, old: Config, change: Change) -> None:
        stale = stale_groups(old, self.opts)
        for group in old.groups:
            gone = group.id >= len(self.opts.groups)
            if gone or "worker" in change.users or group.id in stale:
                self.crew.retire(group.id)
            if gone and self.task_queues.pop(group.id, None) is not None and self._queues:
                with contextlib.suppress(Exception):  # the grabber compares it all anyway
                    self._queues.clean(group.id)
        if self._queues:
            for group in self.opts.groups:
                self.task_queues[group.id] = self._queues.queue(group.id)

    # --- events and signals ---------------------------------------------------------------

    def _act(self, received: set[int]) -> None:
        """What signals ask for, besides stopping."""
        if signal.SIGHUP in received:
            self.update_conf()
        if signal.SIGUSR1 in received and "log" in self.helpers.running:
            self.helpers.running["log"].signal(signal.SIGUSR1)
        if DRAIN in received:
            drain.begin(self.opts, "drained by a signal")
        if RESUME in received:
            drain.end(self.opts)
        if received & {DRAIN, RESUME}:
            why = drain.reason(self.opts)
            what = f"drained, nothing new is started: {why}" if why else "resumed"
            self.event(what, kind="daemon.drained" if why else "daemon.resumed")
            self._publish_drain()

    def _publish_drain(self) -> None:
        if self._keeper and self._keeper.up:
            drain.publish(self._keeper.client, drain.reason(self.opts))
            self._wake("drain")

    def _status(self) -> str:
        """One line on how things are: systemd's status and our own title."""
        trouble = self._keeper.trouble if self._keeper else ""
        total = sum(group.max_workers for group in self.opts.groups)
        text = f"serving {self.opts.frontend_url}, {self.family.board.busy()}/{total} busy"
        drained = ", drained" if drain.path(self.opts).exists() else ""
        return (
            text
            + drained
            + (f", Redis: {trouble}" if trouble else "")
            + (f"; {self._bad_config}" if self._bad_config else "")
        )

    # --- life -----------------------------------------------------------------------------

    def run(self) -> None:
        """Start everything, supervise it until asked to stop, and leave nothing behind."""
        self.signals.listen()
        self._become()
        orphans.adopt()
        try:
            self._begin()
            if not self.signals.stopping:
                notify(READY="1", STATUS=self._status())
                self.ext_opts.get("ready", lambda: None)()
                for note in self.opts.notes:
                    self.event(note, "warning")
                self.event(f"ready, serving {self.opts.frontend_url}", kind="daemon.ready")
            turn = min(TURN, self._watchdog.every or TURN)
            while not self.signals.stopping:
                self.once(time.monotonic())
                self._show(time.monotonic())
                self._act(self.signals.wait(turn))
        finally:
            child.title("master stopping")
            notify(STOPPING="1")
            self.terminate()

    def _become(self) -> None:
        """Take what needs root, become the configured user, and check what can be checked."""
        identity = Identity.of(self.opts)
        check_url(self.opts)
        check_directories(self.opts, identity)
        self._pidfile.acquire(*((identity.uid, identity.gid) if identity else ()))
        try:
            self._dwelling.acquire()
            if self.opts.embedded:
                self._listener = web.listen(self.opts)
            cgroup.settle()
            if identity:
                cgroup.hand_over(identity.uid, identity.gid)
                identity.assume()
                check_program(self.opts)
                check_directories(self.opts)
            check_tools(self.opts)
            check_compression(self.opts)
            try_out(self.opts, self._builder)
        except BaseException:
            if self._listener is not None:
                self._listener.close()
            self._dwelling.release()
            self._pidfile.release()
            raise

    def _begin(self) -> None:
        child.title("master starting")
        self._password = frontend_password(self.opts)
        for trouble in tidy.sweep_workdirs(self.opts, self._builder):
            self.event(trouble, "error")
        self.init_task_queues()
        assert self._keeper
        self._keeper.start(self.signals.until_stop)
        shed_garbage()
        self.once(time.monotonic())
        if self.opts.embedded:
            while not (self.helpers.first_start("web") or self.signals.until_stop(0.01)):
                if self.helpers.due("web"):
                    self.init_sub_process()

    def once(self, now: float) -> None:
        """One turn: revive what died, start what is missing. `now` is the monotonic clock."""
        assert self._keeper
        for late in self.family.overdue(now):
            self.event(
                f"{late.name} (pid {late.pid}) hangs and was killed", "error", kind="child.hung"
            )
        for name in self.family.resume_stopped(now):
            self.event(f"{name} had been stopped and goes on", "warning", kind="child.continued")
        if self.signals.news:
            self._look_at_children(now)
        self._returned = self._keeper.turn(now) or self._returned
        if self._returned:
            self._redis_is_back()
        if self._watch.changed():
            self.update_conf()
        elif self._bad_config and now >= self._reread_at:
            self._read_conf()
        self.init_sub_process()
        if self._keeper.up and not self._returned:
            self.crew.remind(now)
            for group in self.opts.groups:
                self.spin_up_workers_by_group({"id": group.id, "max_workers": group.max_workers})

    def _look_at_children(self, now: float) -> None:
        self.signals.news = False
        assert self._keeper
        self.family.note_stops(now)
        self._keeper.child_ended()
        for group_id in list(self.crew.workers):
            self.prune_dead_workers_by_group_id(group_id)
        self.helpers.bury()
        self.family.reap_orphans({self._keeper.pid})

    def _redis_is_back(self) -> None:
        """It answers for the first time, or again: what must be in it is put there."""
        try:
            if not self.crew.everyone():
                self.clean_task_queues()
            self._publish_drain()
        except redis.RedisError:
            return  # away again: the next turn does it
        self._returned = False

    def _show(self, now: float) -> None:
        self._watchdog.beat(now)
        status = self._status()
        if status != self._shown:
            self._shown = status
            child.title(f"master {status}")
            notify(STATUS=status)

    def terminate(self) -> None:
        """Stop all processes within `stop_timeout`, and leave nothing in Redis but reports."""
        self.signals.stopping = True
        patience = float(self.opts.stop_timeout)
        # The log process last: it has the others' last words to write.
        first = [process for name, process in self.helpers.running.items() if name != "log"]
        self.family.stop([*first, *self.crew.everyone()], patience, self.signals.until_hurry)
        own = {self._keeper.pid} if self._keeper else set()
        self.family.end_orphans(own, patience / 4)
        tidy.forget_ways(self.opts)
        tidy.forget_publishers(self.opts)
        for trouble in tidy.sweep_workdirs(self.opts, self._builder):
            self.event(trouble, "error")
        self.event("stopped", kind="daemon.stopped", data={"pid": os.getpid()})
        last = [process for name, process in self.helpers.running.items() if name == "log"]
        for process in last:  # it ends by itself, all written
            process.join(patience / 4)
        self.family.stop(last, patience / 4, self.signals.until_hurry)
        if self._keeper and self._keeper.answers():
            with contextlib.suppress(Exception):
                tidy.forget_all(self._keeper.client)
        if self._keeper:
            self._keeper.stop()
        if self._listener is not None:
            self._listener.close()
        self._dwelling.release()
        self._pidfile.release()


def run_backend(
    config_file: str | Path | None = None, ext_opts: Mapping[str, Any] | None = None
) -> None:
    """Run the daemon in this process until it is stopped; raises CoprBackendError."""
    CoprBackend(config_file, ext_opts).run()
