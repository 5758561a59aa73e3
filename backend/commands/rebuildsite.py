"""Where `rebuild` builds: on this machine, or on a host that the running daemon gives it."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import redis

from backend import hostview
from backend.builders import Builder, Monitor
from backend.builders.plugin import load_builder, try_out
from backend.commands.master import Master
from backend.commands.text import plain
from backend.config import Config, Group
from backend.exceptions import CoprBackendError
from backend.hosts.lease import Leases
from backend.processid import ProcessId
from backend.provenance.published import Published
from backend.redis_server import connect
from backend.site import Site

#: States of hosts that nobody needs to wait for.
_HOPELESS = ("quarantined", "drained")


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What leases ask of a task. Nobody's machine of before is taken for it: its sandbox is new."""

    task_id: str
    owner: str
    project: str
    submitter: str | None = None
    raw: Mapping[str, str] = field(default_factory=dict)


class Sites:
    """`builder` is this machine's, which also reads source packages and removes directories.

    With `on_host` builds go to the group that has them built elsewhere. The daemon must run: it
    alone gives hosts away, and it takes this one back when we die.
    """

    def __init__(self, config: Config, *, on_host: bool) -> None:
        """Raises CoprBackendError if the builder does not work here, or no daemon runs."""
        self._config, self._on_host = config, on_host
        self.builder: Builder = load_builder(config)
        if on_host:
            Master.get(config)
        else:
            try_out(config, self.builder)

    def ready(self, build: Published) -> None:
        """Raises CoprBackendError if it cannot be built where it shall be."""
        if self._on_host:
            self._group(build)
        else:
            _check_chroot(build, self.builder, "this machine")

    @contextlib.contextmanager
    def take(self, build: Published, monitor: Monitor) -> Iterator[Site]:
        """Where to build it; waits until a host is free. Raises CoprBackendError."""
        if not self._on_host:
            yield Site(builder=self.builder)
            return
        process = ProcessId.of(os.getpid())
        assert process
        owner, dirname = build.path.parts[-4:-2]
        order = _Order(
            task_id=f"rebuild-{build.path.name}",
            owner=owner,
            project=dirname.partition(":")[0],
        )
        group = self._group(build)
        _say(f"waiting for a host of group {group.name} (copr_be.py host list)")
        client = connect(self._config, timeout=30.0)
        try:
            leases = Leases(
                self._config,
                group,
                client,
                worker=f"rebuild-{process.pid}",
                process=process,
                local=self.builder,
                say=_say,
            )
            patience = _Patience(monitor, client, group, f"rebuild-{process.pid}")
            with contextlib.closing(leases), leases.take(order, (), patience, _say) as site:
                _check_chroot(build, site.builder, f"host {site.name}")
                yield site
        except redis.RedisError as error:
            raise CoprBackendError(f"no host can be had, Redis is away: {error}") from error
        finally:
            client.close()

    def _group(self, build: Published) -> Group:
        """That of the host on which it was built, else the first one with hosts for its chroot."""
        arch = build.chroot.arch
        found = [one for one in self._config.groups if one.pooled and arch in one.archs]
        if not found:
            raise CoprBackendError(f"no group builds {arch} on hosts: leave --on-host out")
        name = "://" + build.host.partition("/")[0]
        known = [one for one in found if any(at.endswith(name) for at in one.hosts)]
        return (known or found)[0]


class _Patience:
    """A monitor while a host is waited for: says why there is none, and ends where none can be
    hoped for."""

    def __init__(self, monitor: Monitor, client: "redis.Redis", group: Group, worker: str) -> None:
        self._monitor, self._client = monitor, client
        self._group, self._worker, self._told = group, worker, ""

    def output(self, data: bytes) -> None:
        """As the monitor does."""
        self._monitor.output(data)

    def wakeup_fd(self) -> int:
        """As the monitor does."""
        return self._monitor.wakeup_fd()

    def check(self) -> None:
        """Raises CoprBackendError, and what the monitor does."""
        self._monitor.check()
        why = hostview.waits(self._client).get(self._worker, "")
        if why and why != self._told:
            _say(f"still waiting: {why}")
            self._told = why
        known = [host for host in hostview.hosts(self._client) if host["group"] == self._group.id]
        if self._group.on_demand or not known:
            return
        if all(host["state"] in _HOPELESS for host in known):
            told = "; ".join(f"{host['name']}: {host['state']}: {host['reason']}" for host in known)
            raise CoprBackendError(
                f"no host of group {self._group.name} can be had: {told}: put it right, then"
                " copr_be.py host resume, or leave --on-host out"
            )


def _check_chroot(build: Published, builder: Builder, where: str) -> None:
    if build.chroot not in builder.chroots():
        have = ", ".join(map(str, builder.chroots()))
        raise CoprBackendError(f"{build.chroot} cannot be built on {where}: it has {have}")


def _say(text: str, *_: object, **__: object) -> None:
    print(f"copr_be.py: rebuild: {plain(text)}", file=sys.stderr)
