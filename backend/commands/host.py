"""`copr_be.py host`: the hosts of pools, and what is said of single ones."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis

from backend import constants, hostview
from backend.commands.control import until
from backend.commands.facts import trouble, where
from backend.commands.master import Master
from backend.commands.text import duration, plain, table
from backend.config import Config
from backend.constants import Exit
from backend.exceptions import CoprBackendError
from backend.hosts import ledger
from backend.hosts.pool import Kind, Machine, State
from backend.redis_server import connect

#: How long a running daemon may take to see a mark, in seconds.
SEEN = 20.0


def run(
    config: Config, pidfile: Path | None, what: str, name: str | None, *, reason: str, as_json: bool
) -> int:
    """`what` is list, drain, resume or remove; all but the first need a name."""
    master = Master.find(config, pidfile)
    if what == "list":
        found = _hosts(config, running=master is not None)
        bad = _asked(config, hostview.troubles) if master else []
        print(json.dumps(found, indent=2) if as_json else _text(config, found, bad))
        return Exit.OK
    if not name:
        raise CoprBackendError(f"host {what}: name a host: `copr_be.py host list` shows them")
    host = _named(_hosts(config, running=master is not None), name)
    if what == "resume":
        ledger.unmark(config, host["name"])
    elif what == "remove" and host["kind"] == Kind.STATIC:
        key = f"group{host['group']}_hosts"
        raise CoprBackendError(f"{host['name']} is in the configuration: take it out of {key}")
    else:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        mark = ledger.REMOVE if what == "remove" else ledger.DRAIN
        ledger.mark(config, host["name"], mark, " ".join(f"{when} {reason}".split()))
    if master:
        _tell(config, master, host["name"], what)
    done = {
        "drain": "drained: it gets no new builds, also after a restart; `host resume` ends that",
        "resume": "resumed, and checked at once if it was in quarantine",
        "remove": "is ended as soon as no build uses it",
    }[what]
    result = {"host": host["name"], "done": what, "running": master is not None}
    print(json.dumps(result) if as_json else f"{host['name']}: {done}")
    return Exit.OK


def _text(config: Config, found: Sequence[dict[str, Any]], bad: Sequence[dict[str, Any]]) -> str:
    now = time.time()
    if found:
        return "\n".join([*host_table(found, now), *trouble_lines(bad, now)])
    if any(group.pooled for group in config.groups):
        return "\n".join(["no host is there yet", *trouble_lines(bad, now)])
    return "all groups build on this machine: set group0_hosts, see docs/hosts.md"


def trouble_lines(bad: Sequence[dict[str, Any]], now: float) -> list[str]:
    """One for each group that gets no machines, for a terminal."""
    return [
        plain(
            f"new machines of group {one['group']} fail ({one['failures']} in a row, next try in"
            f" {duration(max(0.0, one['until'] - now))}): {one['reason']}"
        )[:400]
        for one in bad
    ]


def host_table(found: Sequence[dict[str, Any]], now: float) -> list[str]:
    """The lines for a terminal."""
    rows = [("host", "group", "state", "builds", "failures", "what, or why not")]
    for host in found:
        what = " ".join(host["tasks"]) or host["reason"]
        if host["until"] and host["until"] > now:
            what += f" (tried again in {duration(host['until'] - now)})"
        elif not what and host["sandbox"]:
            what = f"kept for {host['sandbox']}"
        group, builds, faults = (str(host[key]) for key in ("group", "builds", "faults"))
        rows.append((plain(host["name"]), group, host["state"], builds, faults, plain(what)[:200]))
    return table(rows)


def _hosts(config: Config, *, running: bool) -> list[dict[str, Any]]:
    return _asked(config, hostview.hosts) if running else _at_rest(config)


def _asked(config: Config, question: Callable[[Any], Any]) -> Any:
    """What a running daemon's Redis answers."""
    client = connect(config, timeout=5.0)
    try:
        return question(client)
    except (redis.RedisError, OSError) as error:
        text = f"cannot ask Redis ({where(config)}): {trouble(error)}"
        raise CoprBackendError(text) from error
    finally:
        client.close()


def _at_rest(config: Config) -> list[dict[str, Any]]:
    """What is known while no daemon runs: the configuration, and the machines on record."""
    marks = ledger.marks(config)
    machines = [
        Machine(
            name=address.rpartition("://")[2],
            group=group.id,
            kind=Kind.STATIC,
            state=State.CHECKING,
            born=0.0,
            address=address,
            slots=group.max_per_host,
        )
        for group in config.groups
        if group.pooled
        for address in group.hosts
    ]
    found = []
    for machine in [*machines, *ledger.Ledger(config).load()]:
        what, why = marks.get(machine.name, ("", ""))
        drained = (why or "drained") if what == ledger.DRAIN else ""
        found.append(hostview.shown({**machine.to_dict(), "drained": drained}, {}))
    return found


def _named(found: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    for host in found:
        if name in (host["name"], host["address"]):
            return host
    short = [host for host in found if host["name"].rpartition("@")[2] == name]
    if len(short) == 1:
        return short[0]
    known = ", ".join(plain(host["name"]) for host in found) or "there are none"
    raise CoprBackendError(f"no host is called {name}: {known}")


def _tell(config: Config, master: Master, name: str, what: str) -> None:
    """Wake the helper, and return when it has seen it."""
    client = connect(config, timeout=5.0)

    def seen() -> bool:
        try:
            raw: Any = client.hget(constants.HOSTS_KEY, name)
        except redis.RedisError:
            return False
        if raw is None:
            return True
        host = json.loads(raw)
        if what == "remove":
            return bool(host["removing"] or host["state"] == State.ENDING)
        return bool(host["drained"]) == (what == "drain")

    try:
        client.publish(constants.HOST_CHANNEL, "retry" if what == "resume" else "marks")
        if not until(seen, SEEN, master):
            raise CoprBackendError("noted, but the daemon has not seen it yet: look at its log")
    except (redis.RedisError, OSError) as error:
        raise CoprBackendError(f"noted, but Redis is away: {trouble(error)}") from error
    finally:
        client.close()
