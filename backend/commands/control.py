"""`copr_be.py` drain, resume, stop, reload, reopen-logs: they find the daemon and signal it."""

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import redis

from backend import constants
from backend.commands.facts import drain_note
from backend.commands.master import Master, NotRunning
from backend.commands.text import count, duration
from backend.config import Config
from backend.constants import Exit
from backend.daemons.signals import DRAIN, RESUME
from backend.exceptions import CoprBackendError
from backend.locks import PidFile
from backend.options import OPTIONS
from backend.queues import Queues
from backend.redis_server import connect

#: How often a fact that announces itself to nobody is looked at, in seconds.
LOOK = 0.1
#: Nothing on the conveyor for so long means quiet, even if the job grabber says nothing.
SILENCE = 15.0
#: What `stop_timeout` may be at most.
_LONGEST_STOP = 600.0


def until(fact: Callable[[], bool], seconds: float, master: Master | None = None) -> bool:
    """True as soon as `fact()` is, False after that time; NotRunning when the daemon ends."""
    deadline = time.monotonic() + seconds
    while not fact():
        if master and master.wait_end(LOOK):
            raise NotRunning(f"copr-backend (pid {master.process.pid}) ended meanwhile")
        if not master:
            select.select([], [], [], LOOK)
        if time.monotonic() > deadline:
            return False
    return True


# --- drain and resume ------------------------------------------------------------------------


def drain(config: Config, pidfile: Path | None, *, reason: str, wait: bool) -> int:
    """Start nothing new until `resume`, across restarts; with `wait`, return when all is quiet."""
    master = Master.find(config, pidfile)
    _write_note(config, reason)
    if master is None:
        print("copr-backend does not run; it will start drained")
        return Exit.OK
    master.signal(DRAIN)
    if not until(lambda: _drain_key(config) is not None, 10, master):
        raise CoprBackendError(
            f"the daemon (pid {master.process.pid}) did not drain within 10 s: look at its log"
        )
    print("drained: nothing new starts, running builds go on; `copr_be.py resume` ends it")
    if wait:
        wait_quiet(config, master)
        print("no build runs")
    return Exit.OK


def wait_quiet(config: Config, master: Master) -> None:
    """Return when a drained farm has nothing on the conveyor any more."""
    client = connect(config)
    queues = Queues(client)
    last, idle_since = -1, time.monotonic()

    def quiet() -> bool:
        nonlocal last, idle_since
        try:
            # Queues before claims, the way tasks move: a task on its way is seen twice.
            queued = sum(len(queues.queued(group.id)) for group in config.groups)
            building = len(queues.claims())
        except redis.RedisError:
            return False  # the master is bringing it back
        if building != last:
            last = building
            if building:
                print(f"waiting for {count(building, 'build')}", flush=True)
        if queued or building:
            idle_since = time.monotonic()
            return False
        return _passed(client, began) or time.monotonic() > idle_since + SILENCE

    began = time.time()
    try:
        while not until(quiet, 3600, master):
            pass
    finally:
        client.close()


def _passed(client: "redis.Redis", since: float) -> bool:
    """True when the job grabber has completed a pass since then: it knows of the drain."""
    with contextlib.suppress(redis.RedisError, ValueError):
        return float(cast(Any, client.hget(constants.GRABBER_KEY, "pass")) or 0) > since
    return False


def resume(config: Config, pidfile: Path | None) -> int:
    """End a drain."""
    master = Master.find(config, pidfile)
    if master is None:
        _remove_note(config)
        print("copr-backend does not run; it will start undrained")
        return Exit.OK
    master.signal(RESUME)
    if not until(lambda: _drain_key(config) is None and drain_note(config) is None, 10, master):
        raise CoprBackendError(
            f"the daemon (pid {master.process.pid}) did not resume within 10 s: look at its log"
        )
    print("resumed")
    return Exit.OK


def _drain_key(config: Config) -> str | None:
    client = connect(config)
    try:
        return cast(str | None, client.get(constants.DRAIN_KEY))
    except redis.RedisError as error:
        raise CoprBackendError(f"cannot ask Redis: {' '.join(str(error).split())}") from error
    finally:
        client.close()


def _note(config: Config) -> Path:
    return config.statedir / "drained"


def _write_note(config: Config, reason: str) -> None:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    path = _note(config)
    fresh = path.with_name(f".drained-{os.getpid()}")
    try:
        owner = path.parent.stat()
        fresh.write_text(f"{when} {' '.join(reason.split())}\n", encoding="utf-8")
        if os.geteuid() == 0:
            os.chown(fresh, owner.st_uid, owner.st_gid)
        fresh.replace(path)
    except OSError as error:
        raise CoprBackendError(
            f"cannot write {path}: {error.strerror}: run this as root or as the daemon's user"
        ) from error


def _remove_note(config: Config) -> None:
    try:
        _note(config).unlink(missing_ok=True)
    except OSError as error:
        raise CoprBackendError(
            f"cannot remove {_note(config)}: {error.strerror}:"
            " run this as root or as the daemon's user"
        ) from error


# --- stop, reload, reopen --------------------------------------------------------------------


def stop(config: Config, pidfile: Path | None, *, wait: bool, now: bool) -> int:
    """Stop the daemon and return when it is gone.

    Running builds are built again at the next start; `wait` lets them end first, `now` kills
    a daemon that does not obey.
    """
    master = Master.get(config, pidfile)
    if wait:
        _finish_builds(config, pidfile, master)
    return _end(master, config.stop_timeout, now=now)


def stop_by_pidfile(pidfile: Path, *, now: bool) -> int | None:
    """The same without a configuration, which may be broken while the daemon goes on with the one
    that it has read; None if nobody holds the pid file."""
    file = PidFile(pidfile)
    holder = file.holder()
    return None if holder is None else _end(Master(holder, file), _LONGEST_STOP, now=now)


def guess_pidfile(path: Path, rundir: str) -> Path:
    """The pid file of a configuration that cannot be read as a whole; `rundir`, if given, wins."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.findall(r"^[ \t]*rundir[ \t]*[=:][ \t]*(\S.*?)[ \t]*$", text, re.MULTILINE)
    default = next(o.default for o in OPTIONS if (o.section, o.name) == ("backend", "rundir"))
    return Path(rundir or (found[-1] if found else default)) / "copr-be.pid"


def _end(master: Master, stop_timeout: float, *, now: bool) -> int:
    began = time.monotonic()
    master.signal(signal.SIGKILL if now else signal.SIGTERM)
    limit = stop_timeout + 15.0
    if not master.wait_end(limit):
        raise CoprBackendError(
            f"copr-backend (pid {master.process.pid}) still runs after {limit:g} s:"
            " `copr_be.py stop --now` kills it; nothing is lost"
        )
    took = duration(time.monotonic() - began)
    if now:
        print(f"copr-backend (pid {master.process.pid}) killed; systemd starts its own again")
    elif master.left_its_number():
        raise CoprBackendError(
            f"copr-backend (pid {master.process.pid}) ended without cleaning up, its pid file is"
            " left: see the end of backend.log; the next start repairs it"
        )
    else:
        print(f"copr-backend (pid {master.process.pid}) stopped within {took}")
    return Exit.OK


def _finish_builds(config: Config, pidfile: Path | None, master: Master) -> None:
    was_drained = drain_note(config) is not None
    if not was_drained:
        drain(config, pidfile, reason="stop --wait", wait=False)
    try:
        wait_quiet(config, master)
    finally:
        if not was_drained:
            _remove_note(config)


def reload(config: Config, pidfile: Path | None) -> int:
    """Make the daemon read its configuration again; who calls has read it, so it is a good one."""
    master = Master.get(config, pidfile)
    master.signal(signal.SIGHUP)
    print(f"copr-backend (pid {master.process.pid}) reads {config.path} again")
    return Exit.OK


def reopen(config: Config, pidfile: Path | None) -> int:
    """Make the daemon open its log files again, after they were renamed."""
    master = Master.get(config, pidfile)
    master.signal(signal.SIGUSR1)
    print(f"copr-backend (pid {master.process.pid}) opens its log files again")
    return Exit.OK
