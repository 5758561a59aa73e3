"""The life of machines: errands start, check and end them, and bring the answers here."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backend.config import Group
from backend.daemons import hostwork
from backend.daemons.errands import Ended, Errands
from backend.hosts import plan, pool
from backend.hosts.pool import Kind, Machine, State, Trouble

#: Between two looks at a ticket, in seconds.
TICKET = 2.0
#: Longest that an exchange with resalloc may take, in seconds.
XMLRPC = 60.0


class Lives:
    """`keeper` is the HostKeeper, which has the machines."""

    def __init__(self, keeper: Any, errands: Errands, say: Callable[..., None]) -> None:
        self._keeper, self._errands, self._say = keeper, errands, say
        self._ending: dict[str, Trouble] = {}

    def check(self, now: float) -> None:
        """Begin the checks that are due."""
        keeper = self._keeper
        for name in plan.checks(keeper.scene(now), self._errands.busy()):
            machine = keeper.machines[name]
            others = pool.others(keeper.machines.values(), machine)
            group = keeper.groups.get(machine.group)
            work = hostwork.check(keeper.config, group, machine, others)
            self._errands.send("check", name, work, keeper.config.hosts_check_timeout, now)

    def start(self, now: float) -> None:
        """Start as many as are missing."""
        keeper = self._keeper
        for group in keeper.groups.values():
            for sandbox in plan.starts(keeper.scene(now), group.id):
                self._start(group, sandbox, now)
        self._collect_tickets(now)

    def _start(self, group: Group, sandbox: str, now: float) -> None:
        keeper = self._keeper
        kind = Kind.TICKET if group.resalloc_connection else Kind.SPAWNED
        machine = Machine(
            name=f"{keeper.prefix}-{group.id}-{secrets.token_hex(4)}",
            group=group.id,
            kind=kind,
            state=State.STARTING,
            born=now,
            since=now,
            slots=1 if kind is Kind.TICKET else group.max_per_host,
            affine=plan.affine(group, kind),
            sandbox=sandbox,
            server=group.resalloc_connection,
            terminate=group.terminate_command,
        )
        keeper.put(machine)
        keeper.save()  # the intent comes first: what dies from here on leaks nothing
        self._say(f"host {machine.name} is being started", kind="host.starting")
        if kind is Kind.TICKET:
            work, limit = hostwork.take_ticket(keeper.config, group, machine), XMLRPC
        else:
            work = hostwork.spawn(keeper.config, group, machine, keeper.prefix)
            limit = float(keeper.config.hosts_spawn_timeout)
        self._errands.send("start", machine.name, work, limit, now)

    def _collect_tickets(self, now: float) -> None:
        busy = self._errands.busy()
        for machine in self._keeper.machines.values():
            due = machine.state is State.STARTING and machine.ticket and now >= machine.not_before
            group = self._keeper.groups.get(machine.group)
            if due and group and machine.name not in busy:
                work = hostwork.collect_ticket(group, machine)
                self._errands.send("ticket", machine.name, work, XMLRPC, now)

    def end(self, now: float) -> None:
        """End those that shall be ended and that nobody uses."""
        used = {lease.host for lease in self._keeper.leases.values()}
        for name, machine in self._keeper.machines.items():
            if machine.state is not State.ENDING or name in used or now < machine.not_before:
                continue
            for kind in ("check", "ticket"):
                self._errands.cancel(kind, name)
            if machine.kind is Kind.SPAWNED:  # a ticket's number must not get lost
                self._errands.cancel("start", name)
            if name not in self._errands.busy():
                group = self._keeper.groups.get(machine.group)
                work = hostwork.end(self._keeper.config, group, machine, self._keeper.prefix)
                self._errands.send(
                    "end", name, work, self._keeper.config.hosts_command_timeout, now
                )

    def ended(self, ended: Ended, now: float) -> None:
        """An errand has brought this."""
        machine = self._keeper.machines.get(ended.name)
        if machine is None:
            return
        if ended.kind == "check":
            self._checked(machine, ended, now)
        elif ended.kind == "end":
            self._gone(machine, ended.error, now)
        else:
            self._started(machine, ended, now)

    def _checked(self, machine: Machine, ended: Ended, now: float) -> None:
        if machine.state not in (State.CHECKING, State.READY, State.QUARANTINED):
            return
        if not ended.error:
            if not machine.proven and machine.kind is not Kind.STATIC:
                self._keeper.spawning.pop(machine.group, None)
                self._say(f"host {machine.name} ({machine.address}) is ready", kind="host.ready")
            self._keeper.put(pool.passed(machine, now, self._keeper.rules))
            return
        if ended.fault == "HostTwice" and machine.kind is not Kind.STATIC:
            after = machine.to(State.ENDING, now, ended.error)  # waiting would not cure it
        else:
            after = pool.missed(machine, ended.error, now, self._keeper.rules)
        if after.state is State.ENDING and not machine.proven:
            self._start_failed(machine, after.reason, now)
        self._keeper.put(after)

    def _started(self, machine: Machine, ended: Ended, now: float) -> None:
        number = int(ended.result.get("ticket", 0) or machine.ticket)
        machine = replace(machine, ticket=number)
        told = {n: str(ended.result.get(n, "")) for n in ("address", "foreign", "data")}
        known = self._keeper.machines.values()
        taken = pool.taken(known, machine, told["address"], told["foreign"])
        if machine.state is not State.STARTING:
            self._keeper.put(machine)
        elif ended.kind == "ticket" and ended.error and ended.fault != "TicketLost":
            self._keeper.put(machine.to(State.STARTING, now, ended.error, 3 * TICKET))
        elif why := ended.error or taken:  # taken: it would be given to two sandboxes
            self._start_failed(machine, why, now)
            self._keeper.put(machine.to(State.ENDING, now, why))
        elif told["address"]:
            self._keeper.put(replace(machine.to(State.CHECKING, now), **told))  # type: ignore[arg-type]
        else:
            self._keeper.put(machine.to(State.STARTING, now, machine.reason, TICKET))
        self._keeper.save()

    def _start_failed(self, machine: Machine, why: str, now: float) -> None:
        trouble = self._keeper.spawning.get(machine.group, Trouble()).again(why, now)
        self._keeper.spawning[machine.group] = trouble
        text = (
            f"host {machine.name} could not be started ({trouble.count} in a row): {why};"
            f" again in {trouble.not_before - now:g} s"
        )
        self._say(text, "error", kind="host.failed")

    def _gone(self, machine: Machine, error: str, now: float) -> None:
        if not error:
            self._ending.pop(machine.name, None)
            self._keeper.forget(machine.name)
            self._say(f"host {machine.name} is gone", kind="host.gone")
            return
        trouble = self._ending.get(machine.name, Trouble()).again(error, now)
        self._ending[machine.name] = trouble
        pause = trouble.not_before - now
        self._keeper.put(machine.to(State.ENDING, now, f"cannot be ended: {error}", pause))
        text = f"host {machine.name} cannot be ended ({trouble.count} tries): {error}"
        self._say(text, "error", kind="host.stuck")
