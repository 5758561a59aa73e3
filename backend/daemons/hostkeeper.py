"""The keeper of the pools: one turn looks at what happened, decides, and acts.

It alone grants leases and changes machines. Whatever it does is on disk first where losing it
would leak a machine, or give one to strangers; it may be killed at any moment.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from backend.config import Config
from backend.daemons import hostbegin
from backend.daemons.errands import Errands
from backend.daemons.hostboard import Noticeboard
from backend.daemons.hostlives import Lives
from backend.daemons.hostsweep import Sweep
from backend.hosts import ledger, plan, pool
from backend.hosts.exchange import Exchange, Snapshot
from backend.hosts.pool import Kind, Lease, Machine, Outcome, Request, Scene, State, Trouble

Say = Callable[..., None]


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
        self._board = Noticeboard(exchange, say)
        self._lives = Lives(self, errands, say)
        self._sweep = Sweep(self, errands, say)

    # --- start ----------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Take over from the one before: hosts of the configuration, machines on record."""
        self._board.recall()
        told = self._board.told
        for machine in hostbegin.configured(self.groups.values(), told, now):
            self.machines[machine.name] = machine
        for found in self._ledger.load():
            machine = hostbegin.adopted(self.config, found, now, away=not told, say=self._say)
            self.machines[machine.name] = machine
        self.machines = {n: pool.settled(m, now) for n, m in self.machines.items()}
        snapshot = self._exchange.look()
        self.leases = {w: lease for w, lease in snapshot.leases.items() if self._is_alive(lease)}
        self._exchange.bury(snapshot.leases.keys() - self.leases.keys())
        used = Counter(lease.host for lease in self.leases.values())
        for name, machine in self.machines.items():
            if machine.in_use > used[name]:  # its worker died, or Redis has forgotten it
                made = pool.released(machine, Outcome.DIED, "its worker is gone", now, self.rules)
                self.machines[name] = made
        self._news(snapshot, now)

    # --- one turn -------------------------------------------------------------------------

    def once(self, now: float) -> None:
        """Look, decide, act, tell."""
        self._news(self._exchange.look(), now)
        for ended in self._errands.collect(now):
            sweeping = ended.kind in ("list", "orphan")
            (self._sweep if sweeping else self._lives).ended(ended, now)
        self._read_marks()
        for name, why in plan.ends(self.scene(now)).items():
            self.put(self.machines[name].to(State.ENDING, now, why))
        self._lives.end(now)
        self._lives.check(now)
        self._grant(now)
        self._lives.start(now)
        self._sweep.step(now)
        self.save()
        self._board.publish(self.machines)
        self._board.explain(self.scene(now))

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
            self.put(replace(after, in_use=used if machine.kind is not Kind.STATIC else 0))

    def _grant(self, now: float) -> None:
        for request, chosen in plan.assign(self.scene(now)):
            machine = chosen
            if machine.kind is not Kind.STATIC:
                used = sum(lease.host == machine.name for lease in self.leases.values())
                machine = replace(machine, in_use=used + 1)
            self.put(machine)
            self.save()  # whose it is, and that it is in use, before it is
            self._board.publish(self.machines)
            lease = self._exchange.grant(request, machine, now)
            del self.waiting[request.worker]
            if lease:
                self.leases[request.worker] = lease
                self._board.served(request.worker)
            elif machine.kind is not Kind.STATIC:
                self.put(replace(machine, in_use=machine.in_use - 1))

    # --- machines -------------------------------------------------------------------------

    def put(self, machine: Machine) -> None:
        """A machine is new, or has changed."""
        before = self.machines.get(machine.name)
        self.machines[machine.name] = machine
        if before and before.state is not machine.state:
            self._board.announce(before, machine)

    def _read_marks(self) -> None:
        marks = ledger.marks(self.config)
        for name, machine in list(self.machines.items()):
            what, why = marks.get(name, ("", ""))
            drained = (why or "drained") if what == ledger.DRAIN else ""
            removing = what == ledger.REMOVE and machine.kind is not Kind.STATIC
            if (drained, removing) != (machine.drained, machine.removing):
                self.put(replace(machine, drained=drained, removing=removing))

    def retry(self, now: float) -> None:
        """Somebody says that hosts are well again: look now, at all that are not in use."""
        for name, machine in list(self.machines.items()):
            if machine.state in (State.QUARANTINED, State.CHECKING):
                self.machines[name] = replace(machine, not_before=now)
        self.spawning = {g: replace(t, not_before=now) for g, t in self.spawning.items()}

    # --- the record -----------------------------------------------------------------------

    def save(self) -> None:
        """Have all machines on record."""
        self._ledger.save(m for m in self.machines.values() if m.kind is not Kind.STATIC)

    def forget(self, name: str) -> None:
        """A machine is gone for good."""
        del self.machines[name]
        self.save()
        ledger.drop(self.config, name)

    def knows(self, name: str) -> bool:
        """True for a machine of ours, by our name or its own."""
        return any(name in (m.name, m.foreign) for m in self.machines.values())
