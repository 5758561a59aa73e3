"""The keeper of the pools: one turn looks at what happened, decides, and acts.

It alone grants leases and changes machines. Whatever it does is on disk first where losing it
would leak a machine, or give one to strangers; it may be killed at any moment.
"""

import json
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace

from backend.config import Config
from backend.daemons import hostwork
from backend.daemons.errands import Ended, Errands
from backend.daemons.hostsweep import Sweep
from backend.hosts import ledger, plan, pool
from backend.hosts.exchange import Exchange, Snapshot
from backend.hosts.pool import Kind, Lease, Machine, Outcome, Request, Scene, State, Trouble

Say = Callable[..., None]
#: Between two looks at a ticket, in seconds.
TICKET = 2.0
#: Longest that an exchange with resalloc may take, in seconds.
XMLRPC = 60.0


class HostKeeper:
    """`alive(pid, start)` tells whether a worker's process runs. Times are since the epoch."""

    def __init__(
        self,
        config: Config,
        exchange: Exchange,
        errands: Errands,
        say: Say,
        alive: Callable[[int, int], bool],
    ) -> None:
        self.config, self._exchange, self._errands, self._say = config, exchange, errands, say
        self._alive = alive
        self._ledger = ledger.Ledger(config)
        self.prefix = ledger.prefix(config)
        self.groups = {group.id: group for group in config.groups if group.pooled}
        self.rules = pool.Rules(
            quarantine_after=config.hosts_quarantine_after,
            check_interval=config.hosts_check_interval,
            spawn_timeout=config.hosts_spawn_timeout,
        )
        self.machines: dict[str, Machine] = {}
        self.leases: dict[str, Lease] = {}
        self.waiting: dict[str, Request] = {}
        self.spawning: dict[int, Trouble] = {}
        self._ending: dict[str, Trouble] = {}
        self._told: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._troubles: dict[int, str] | None = None
        self._sweep = Sweep(self, errands, say)

    # --- start ----------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Take over from the one before: hosts of the configuration, machines on record."""
        self._told = self._exchange.known()
        for machine in self._configured(now):
            self.machines[machine.name] = machine
        for machine in self._ledger.load():
            self.machines[machine.name] = self._adopted(machine, now)
        snapshot = self._exchange.look()
        self.leases = {w: lease for w, lease in snapshot.leases.items() if self._is_alive(lease)}
        self._exchange.bury(snapshot.leases.keys() - self.leases.keys())
        used = Counter(lease.host for lease in self.leases.values())
        for name, machine in self.machines.items():
            if machine.in_use > used[name]:  # its worker died, or Redis has forgotten it
                made = pool.released(machine, Outcome.DIED, "its worker is gone", now, self.rules)
                self.machines[name] = made
        self._news(snapshot, now)

    def _configured(self, now: float) -> list[Machine]:
        found: dict[str, Machine] = {}
        for group in self.groups.values():
            for address in group.hosts:
                name = address.rpartition("://")[2]
                if name in found:  # another group's: each counts its own slots
                    name = f"{name}/{group.id}"
                before = self._before(name)
                found[name] = replace(
                    before or Machine(
                        name=name, group=group.id, kind=Kind.STATIC, state=State.CHECKING, born=now,
                        since=now,
                    ),
                    group=group.id, address=address, slots=group.max_per_host,
                )  # fmt: skip
        return list(found.values())

    def _before(self, name: str) -> Machine | None:
        try:
            found = Machine.from_dict(json.loads(self._told[name]))
        except (KeyError, ValueError):
            return None
        return found if found.kind is Kind.STATIC else None

    def _adopted(self, machine: Machine, now: float) -> Machine:
        if machine.kind is Kind.TICKET and not machine.ticket:
            machine = replace(machine, ticket=ledger.ticket(self.config, machine.name))
        if machine.state is State.STARTING and not machine.ticket:
            self._say(f"host {machine.name}: its start was interrupted: it is ended", "warning")
            return machine.to(State.ENDING, now, "its start was interrupted")
        if machine.state in (State.READY, State.CHECKING) and not self._told:
            return machine.to(State.CHECKING, now)  # the daemon was away
        return machine

    # --- one turn -------------------------------------------------------------------------

    def once(self, now: float) -> None:
        """Look, decide, act, tell."""
        self._news(self._exchange.look(), now)
        for ended in self._errands.collect(now):
            self._ended(ended, now)
        self._read_marks()
        for name, why in plan.ends(self.scene(now)).items():
            self._set(self.machines[name].to(State.ENDING, now, why))
        self._end_machines(now)
        self._check_machines(now)
        self._grant(now)
        self._start_machines(now)
        self._sweep.step(now)
        self._tell(now)

    def scene(self, now: float) -> Scene:
        """What decisions look at."""
        return Scene(
            machines=self.machines,
            leases=self.leases,
            waiting=tuple(self.waiting.values()),
            groups=self.groups,
            rules=self.rules,
            now=now,
            spawning=self.spawning,
        )

    def until(self, now: float) -> float:
        """Seconds until something is due by itself."""
        scene = self.scene(now)
        busy = self._errands.busy()
        due = [plan.check_due(scene, m) for m in self.machines.values() if m.name not in busy]
        due += [m.not_before for m in self.machines.values()
                if m.state in (State.ENDING, State.STARTING) and m.name not in busy]  # fmt: skip
        for machine in self.machines.values():
            if machine.kind is not Kind.STATIC and machine.state is State.READY:
                group = self.groups.get(machine.group)
                idle = machine.idle_since + (group.host_idle_time if group else 0)
                due += [idle] if idle > now else []
        due += [trouble.not_before for trouble in self.spawning.values() if trouble.count]
        due += [self._errands.next_deadline(), self._sweep.due(now)]
        return max(0.05, min([moment - now for moment in due if moment > now - 1.0], default=60.0))

    def holders(self) -> set[tuple[int, int]]:
        """The processes whose end is news: (pid, start)."""
        both: list[Lease | Request] = [*self.leases.values(), *self.waiting.values()]
        return {(entry.pid, entry.start) for entry in both}

    # --- leases ---------------------------------------------------------------------------

    def _is_alive(self, entry: Lease | Request) -> bool:
        return self._alive(entry.pid, entry.start)

    def _news(self, snapshot: Snapshot, now: float) -> None:
        ended = set()
        for news in snapshot.news:
            held = self.leases.get(news.worker)
            ended.add((news.worker, news.token))
            if held and held.token == news.token:
                self._end_lease(held, news.outcome, news.why, now)
        for worker, lease in snapshot.leases.items():
            if worker not in self.leases and (worker, lease.token) not in ended:
                self.leases[worker] = lease
        for worker, lease in list(self.leases.items()):
            if not self._is_alive(lease):
                self._exchange.bury([worker])
                self._end_lease(lease, Outcome.DIED, "its worker died", now)
            elif worker not in snapshot.leases:
                self._exchange.restore(lease)
        self.waiting = {w: r for w, r in snapshot.waiting.items() if self._is_alive(r)}
        self._exchange.bury(snapshot.waiting.keys() - self.waiting.keys())

    def _end_lease(self, lease: Lease, outcome: Outcome, why: str, now: float) -> None:
        del self.leases[lease.worker]
        machine = self.machines.get(lease.host)
        if machine:
            after = pool.released(machine, outcome, why, now, self.rules)
            used = sum(other.host == lease.host for other in self.leases.values())
            self._set(replace(after, in_use=used if machine.kind is not Kind.STATIC else 0))

    def _grant(self, now: float) -> None:
        for request, chosen in plan.assign(self.scene(now)):
            machine = chosen
            if machine.kind is not Kind.STATIC:
                used = sum(lease.host == machine.name for lease in self.leases.values())
                machine = replace(machine, in_use=used + 1)
            self._set(machine)
            self._save()  # whose it is, and that it is in use, before it is
            self._publish()
            lease = self._exchange.grant(request, machine, now)
            del self.waiting[request.worker]
            if lease:
                self.leases[request.worker] = lease
                self._texts.pop(request.worker, None)
            elif machine.kind is not Kind.STATIC:
                self._set(replace(machine, in_use=machine.in_use - 1))

    # --- machines -------------------------------------------------------------------------

    def _set(self, machine: Machine) -> None:
        before = self.machines.get(machine.name)
        self.machines[machine.name] = machine
        if before and before.state is not machine.state:
            self._announce(before, machine)

    def _announce(self, before: Machine, machine: Machine) -> None:
        why = f": {machine.reason}" if machine.reason else ""
        if machine.state is State.QUARANTINED:
            text = f"host {machine.name} is in quarantine{why}"
            self._say(text, "error", kind="host.quarantined")
        elif before.state is State.QUARANTINED and machine.state is State.READY:
            self._say(f"host {machine.name} is back from quarantine", kind="host.back")
        elif machine.state is State.CHECKING and machine.reason and before.proven:
            self._say(f"host {machine.name} is not used until a check passes{why}", "warning")
        elif machine.state is State.ENDING:
            self._say(f"host {machine.name} is ended{why}", kind="host.ending")

    def _read_marks(self) -> None:
        marks = ledger.marks(self.config)
        for name, machine in list(self.machines.items()):
            what, why = marks.get(name, ("", ""))
            drained = (why or "drained") if what == ledger.DRAIN else ""
            removing = what == ledger.REMOVE and machine.kind is not Kind.STATIC
            if (drained, removing) != (machine.drained, machine.removing):
                self._set(replace(machine, drained=drained, removing=removing))

    def retry(self, now: float) -> None:
        """Somebody says that hosts are well again: look now, at all that are not in use."""
        for name, machine in list(self.machines.items()):
            if machine.state in (State.QUARANTINED, State.CHECKING):
                self.machines[name] = replace(machine, not_before=now)
        self.spawning = {g: replace(t, not_before=now) for g, t in self.spawning.items()}

    def _check_machines(self, now: float) -> None:
        for name in plan.checks(self.scene(now), self._errands.busy()):
            work = hostwork.check(self.config, self.machines[name])
            self._errands.send("check", name, work, self.config.hosts_check_timeout, now)

    def _start_machines(self, now: float) -> None:
        for group in self.groups.values():
            for sandbox in plan.starts(self.scene(now), group.id):
                kind = Kind.TICKET if group.resalloc_connection else Kind.SPAWNED
                machine = Machine(
                    name=f"{self.prefix}-{group.id}-{secrets.token_hex(4)}",
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
                self._set(machine)
                self._save()  # the intent comes first: what dies from here on leaks nothing
                self._say(f"host {machine.name} is being started", kind="host.starting")
                if kind is Kind.TICKET:
                    work, limit = hostwork.take_ticket(self.config, group, machine), XMLRPC
                else:
                    work = hostwork.spawn(self.config, group, machine, self.prefix)
                    limit = float(self.config.hosts_spawn_timeout)
                self._errands.send("start", machine.name, work, limit, now)
        self._collect_tickets(now)

    def _collect_tickets(self, now: float) -> None:
        busy = self._errands.busy()
        for machine in self.machines.values():
            due = machine.state is State.STARTING and machine.ticket and now >= machine.not_before
            group = self.groups.get(machine.group)
            if due and group and machine.name not in busy:
                work = hostwork.collect_ticket(group, machine)
                self._errands.send("ticket", machine.name, work, XMLRPC, now)

    def _end_machines(self, now: float) -> None:
        used = {lease.host for lease in self.leases.values()}
        for name, machine in self.machines.items():
            if machine.state is not State.ENDING or name in used or now < machine.not_before:
                continue
            for kind in ("check", "ticket"):
                self._errands.cancel(kind, name)
            if machine.kind is Kind.SPAWNED:  # a ticket's number must not get lost
                self._errands.cancel("start", name)
            if name not in self._errands.busy():
                group = self.groups.get(machine.group)
                work = hostwork.end(self.config, group, machine, self.prefix)
                self._errands.send("end", name, work, self.config.hosts_command_timeout, now)

    # --- what errands bring ---------------------------------------------------------------

    def _ended(self, ended: Ended, now: float) -> None:
        if ended.kind in ("list", "orphan"):
            self._sweep.ended(ended, now)
            return
        machine = self.machines.get(ended.name)
        if machine is None:
            return
        if ended.kind == "check":
            self._checked(machine, ended.error, now)
        elif ended.kind == "end":
            self._gone(machine, ended.error, now)
        else:
            self._started(machine, ended, now)

    def _checked(self, machine: Machine, error: str, now: float) -> None:
        if machine.state not in (State.CHECKING, State.READY, State.QUARANTINED):
            return
        if not error:
            if not machine.proven and machine.kind is not Kind.STATIC:
                self.spawning.pop(machine.group, None)
                self._say(f"host {machine.name} ({machine.address}) is ready", kind="host.ready")
            self._set(pool.passed(machine, now, self.rules))
            return
        after = pool.missed(machine, error, now, self.rules)
        if after.state is State.ENDING and not machine.proven:
            self._start_failed(machine, after.reason, now)
        self._set(after)

    def _started(self, machine: Machine, ended: Ended, now: float) -> None:
        number = int(ended.result.get("ticket", 0) or machine.ticket)
        machine = replace(machine, ticket=number)
        if machine.state is not State.STARTING:
            self._set(machine)
        elif ended.kind == "ticket" and ended.error and ended.fault != "TicketLost":
            self._set(machine.to(State.STARTING, now, ended.error, 3 * TICKET))
        elif ended.error:
            self._start_failed(machine, ended.error, now)
            self._set(machine.to(State.ENDING, now, ended.error))
        elif address := str(ended.result.get("address", "")):
            told = {name: str(ended.result.get(name, "")) for name in ("foreign", "data")}
            self._set(replace(machine.to(State.CHECKING, now), address=address, **told))  # type: ignore[arg-type]
        else:
            self._set(machine.to(State.STARTING, now, machine.reason, TICKET))
        self._save()

    def _start_failed(self, machine: Machine, why: str, now: float) -> None:
        trouble = self.spawning.get(machine.group, Trouble()).again(why, now)
        self.spawning[machine.group] = trouble
        text = (
            f"host {machine.name} could not be started ({trouble.count} in a row): {why};"
            f" again in {trouble.not_before - now:g} s"
        )
        self._say(text, "error", kind="host.failed")

    def _gone(self, machine: Machine, error: str, now: float) -> None:
        if not error:
            del self.machines[machine.name]
            self._ending.pop(machine.name, None)
            self._save()
            ledger.drop(self.config, machine.name)
            self._say(f"host {machine.name} is gone", kind="host.gone")
            return
        trouble = self._ending.get(machine.name, Trouble()).again(error, now)
        self._ending[machine.name] = trouble
        pause = trouble.not_before - now
        self._set(machine.to(State.ENDING, now, f"cannot be ended: {error}", pause))
        text = f"host {machine.name} cannot be ended ({trouble.count} tries): {error}"
        self._say(text, "error", kind="host.stuck")

    # --- telling --------------------------------------------------------------------------

    def _save(self) -> None:
        self._ledger.save(m for m in self.machines.values() if m.kind is not Kind.STATIC)

    def _publish(self) -> None:
        texts = {name: json.dumps(machine.to_dict()) for name, machine in self.machines.items()}
        new = {name: text for name, text in texts.items() if self._told.get(name) != text}
        gone = self._told.keys() - texts.keys()
        if new or gone:
            self._exchange.publish(new, gone)
        self._told = texts

    def _tell(self, now: float) -> None:
        self._save()
        self._publish()
        scene = self.scene(now)
        troubles = {g: json.dumps(asdict(t)) for g, t in self.spawning.items() if t.count}
        if troubles != self._troubles:
            self._exchange.troubles(troubles)
            self._troubles = troubles
        texts = {request.worker: plan.why(scene, request) for request in self.waiting.values()}
        new = {worker: text for worker, text in texts.items() if self._texts.get(worker) != text}
        gone = self._texts.keys() - texts.keys()
        if new or gone:
            self._exchange.explain(new, gone)
        self._texts = texts

    def knows(self, name: str) -> bool:
        """True for a machine of ours, by our name or its own."""
        return any(name in (m.name, m.foreign) for m in self.machines.values())
