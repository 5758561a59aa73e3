"""How a build gets a host: a worker asks, blocks until it is given one, and gives it back.

Imported only by workers of a group that does not just build on this machine.
"""

import contextlib
import dataclasses
import importlib
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import redis

from backend.builders import Artifact, Builder, BuildRequest, Monitor
from backend.config import Config, Group
from backend.constants import HOST_GRANT_CHANNEL
from backend.exceptions import (
    BuildError,
    ConfigError,
    CoprBackendError,
    HostError,
    HostUnfit,
    InfrastructureError,
    Killed,
    ToolError,
)
from backend.hosts import ledger
from backend.hosts.exchange import Exchange
from backend.hosts.pool import Lease, Machine, Outcome, Request, places
from backend.processid import ProcessId
from backend.site import Site

#: A worker that waits looks by itself after so many seconds, should a message be lost.
LOOK = 10.0
#: How often a host is tried to be given back to a Redis that is away, twice a second.
GIVE_BACK = 60
#: Connections that a worker keeps warm.
WARM = 4


#: (address, configuration, builds at once there) → a builder with `ping` and `close`.
Transport = Callable[[str, Config, int], Any]


def transport(config: Config) -> Transport:
    """How hosts are reached; raises ConfigError if there is no such function."""
    name = config.hosts_transport
    where = "backend.hosts:connect" if name == "ssh" else name
    module, _, function = where.partition(":")
    try:
        return cast(Transport, getattr(importlib.import_module(module), function))
    except (ImportError, SyntaxError, AttributeError) as error:
        raise ConfigError(
            f"[hosts] transport = {name}: cannot import {where}: {error}: correct the name"
        ) from error


def connect(config: Config, machine: Machine, reach: Transport | None = None) -> Any:
    """A connection to a host that answers; raises HostError."""
    keys = ledger.host_keys(config, machine.name)
    if keys is not None:
        config = dataclasses.replace(config, hosts_known_hosts=keys)
    hosted = None
    try:
        limit = places(config.groups, machine)
        hosted = (reach or transport(config))(machine.address, config, limit)
        hosted.ping()
    except HostError:
        _close(hosted)
        raise
    except (CoprBackendError, OSError) as error:
        _close(hosted)
        raise HostError(f"host {machine.name}: {error}") from error
    return hosted


def _close(hosted: Any) -> None:
    if hosted is not None:
        with contextlib.suppress(InfrastructureError, ToolError, OSError):
            hosted.close()


def sandbox_of(group: Group, task: Any) -> str:
    """Whose machine it is once this task has used it."""
    project = f"{task.owner}/{task.project}"
    if group.host_affinity == "sandbox":
        told = getattr(task, "raw", {}).get("sandbox")
        return str(told or f"{project}--{task.submitter or task.task_id}")
    return project


class _Watched:
    """Tells faults of our own disk from those of the host."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor, self.ours = monitor, False

    def output(self, data: bytes) -> None:
        try:
            self._monitor.output(data)
        except BaseException:
            self.ours = True
            raise

    def wakeup_fd(self) -> int:
        return self._monitor.wakeup_fd()

    def check(self) -> None:
        try:
            self._monitor.check()
        except BaseException:
            self.ours = True
            raise


class _Leased:
    """The builder of a lease: what fails there through no fault of the package is a HostError."""

    def __init__(self, builder: Builder, machine: Machine) -> None:
        self._builder, self._machine = builder, machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    def build(self, request: BuildRequest, monitor: Monitor) -> tuple[Artifact, ...]:
        watched = _Watched(monitor)
        try:
            return self._builder.build(request, watched)
        except (HostError, Killed):
            raise
        except (InfrastructureError, ToolError, OSError) as error:
            if watched.ours:
                raise
            raise HostError(f"host {self._machine.name}: {error}") from error


class Leases:
    """One worker's way to hosts. `client` is its connection to Redis, `say` its events."""

    def __init__(
        self,
        config: Config,
        group: Group,
        client: "redis.Redis",
        *,
        worker: str,
        process: ProcessId,
        local: Builder,
        say: Callable[..., None],
    ) -> None:
        self._config, self._group, self._local, self._say = config, group, local, say
        self._exchange = Exchange(client)
        self._client, self._worker, self._process = client, worker, process
        #: The host of the last lease.
        self.last = ""
        self._channel = HOST_GRANT_CHANNEL.format(worker=worker)
        self._pubsub: Any = None
        self._number = 0
        self._warm: dict[str, tuple[str, Any]] = {}

    @contextlib.contextmanager
    def take(
        self, task: Any, tried: tuple[str, ...], monitor: Monitor, log: Callable[[str], None]
    ) -> Iterator[Site]:
        """A host for one build, given back at the end. Blocks until there is one.

        Raises what the monitor raises. What the build raises tells how the host did.
        """
        began = time.monotonic()
        while True:
            lease, machine = self._wait(task, tried, monitor)
            try:
                builder = self._builder(machine)
                break
            except HostError as error:
                self._exchange.release(lease, Outcome.UNREACHABLE, str(error))
                log(f"host {machine.name} did not answer, asking for another: {error}")
            except BaseException:
                self._exchange.release(lease, Outcome.NEUTRAL)
                raise
        outcome, why, self.last = Outcome.NEUTRAL, "", machine.name
        try:
            waited = time.monotonic() - began
            yield Site(builder=_Leased(builder, machine), name=machine.name, waited=waited)
            outcome = Outcome.WORKED
        except BuildError:
            outcome = Outcome.WORKED
            raise
        except HostError as error:
            blamed = not isinstance(error, HostUnfit)
            outcome, why = (Outcome.FAULT, str(error)) if blamed else (Outcome.NEUTRAL, "")
            self._forget(machine.name)
            raise
        finally:
            self._give_back(lease, outcome, why)

    def _give_back(self, lease: Lease, outcome: Outcome, why: str) -> None:
        """Waits a while for a Redis that is away; after that the next build does it."""
        for _ in range(GIVE_BACK):
            try:
                return self._exchange.release(lease, outcome, why)
            except redis.RedisError as error:
                last = error
                select.select([], [], [], 0.5)
        self._say(f"host {lease.host} could not be given back yet: {last}", "warning")
        return None

    def close(self) -> None:
        """Let go of all connections to hosts; nothing may be taken any more."""
        for name in list(self._warm):
            self._forget(name)

    # --- waiting --------------------------------------------------------------------------

    def _wait(self, task: Any, tried: tuple[str, ...], monitor: Monitor) -> tuple[Lease, Machine]:
        self._listen()
        self._exchange.withdraw(self._worker)  # of an earlier build, if Redis was away then
        self._number += 1
        request = Request(
            worker=self._worker,
            number=f"{os.getpid()}-{self._number}",
            group=self._group.id,
            task=task.task_id,
            sandbox=sandbox_of(self._group, task),
            pid=self._process.pid,
            start=self._process.start,
            since=time.time(),
            tried=tried,
        )
        done = False
        try:
            self._exchange.ask(request)
            while True:
                lease, machine, waiting = self._exchange.granted(self._worker)
                if lease and machine:
                    done = True
                    return lease, machine
                if lease:
                    self._exchange.release(lease, Outcome.NEUTRAL)
                if not waiting:  # Redis has lost it, or the host
                    self._exchange.ask(request)
                self._block(monitor)
        finally:
            if not done:
                with contextlib.suppress(redis.RedisError):
                    self._exchange.withdraw(self._worker)

    def _listen(self) -> None:
        if self._pubsub is None:
            client: Any = self._client
            self._pubsub = client.pubsub(ignore_subscribe_messages=True)
            self._pubsub.subscribe(self._channel)

    def _block(self, monitor: Monitor) -> None:
        """Until something happens: a message, a signal, or `LOOK` seconds."""
        try:
            socket = self._pubsub.connection._sock  # redis-py has no fileno
            ends = [monitor.wakeup_fd(), *([] if socket is None else [socket])]
            if not self._pubsub.connection.can_read(0):
                select.select(ends, [], [], LOOK)
            while self._pubsub.connection.can_read(0):
                self._pubsub.get_message(timeout=0)
        except (redis.RedisError, OSError):
            with contextlib.suppress(redis.RedisError, OSError):
                self._pubsub.close()
            self._pubsub = None
            select.select([monitor.wakeup_fd()], [], [], 0.5)
            self._listen()
        monitor.check()

    # --- connections ----------------------------------------------------------------------

    def _builder(self, machine: Machine) -> Builder:
        if machine.address == "local":
            return self._local
        warm = self._warm.pop(machine.name, None)
        if warm and warm[0] == machine.address:
            try:
                warm[1].ping()
            except (InfrastructureError, ToolError, OSError):
                _close(warm[1])
                warm = None
        elif warm:
            _close(warm[1])
            warm = None
        hosted = warm[1] if warm else connect(self._config, machine)
        self._warm[machine.name] = (machine.address, hosted)  # the newest is the last
        while len(self._warm) > WARM:
            self._forget(next(iter(self._warm)))
        return cast(Builder, hosted)

    def _forget(self, name: str) -> None:
        warm = self._warm.pop(name, None)
        if warm:
            _close(warm[1])
