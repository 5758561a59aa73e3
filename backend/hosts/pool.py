"""Machines of a pool, and what each event makes of them: values, no I/O.

Times are seconds since the epoch: they are kept across restarts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

#: The first pause of a host in quarantine, in seconds; each further one is twice as long.
QUARANTINE = 30.0
LONGEST_QUARANTINE = 3600.0
#: Between two checks of a machine that does not answer yet, in seconds.
KNOCK = 2.0


#: Times of a machine that have come already.
_PAST = ("born", "since", "idle_since", "checked")


class State(StrEnum):
    """`checking` must pass a check before it is used (again)."""

    STARTING = "starting"
    CHECKING = "checking"
    READY = "ready"
    QUARANTINED = "quarantined"
    ENDING = "ending"


class Kind(StrEnum):
    """Where a machine comes from: the configuration, spawn_command, a resalloc ticket."""

    STATIC = "static"
    SPAWNED = "spawned"
    TICKET = "ticket"


class Outcome(StrEnum):
    """How a lease ended. `unreachable`: nothing of the build had been given to the host."""

    WORKED = "worked"
    NEUTRAL = "neutral"
    FAULT = "fault"
    UNREACHABLE = "unreachable"
    DIED = "died"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One host. `failures` are builds in a row that its infrastructure spoiled, `misses` checks
    in a row that it did not pass, `strikes` quarantines without a good build between them.

    `affine`: once used it serves only its `sandbox`. `data` is what spawn_command printed.
    `foreign` is the name that its cloud gives it, `ticket` its number at resalloc. `in_use` counts
    its leases, so that the next helper knows of them without Redis.
    """

    name: str
    group: int
    kind: Kind
    state: State
    born: float
    address: str = ""
    slots: int = 1
    since: float = 0.0
    idle_since: float = 0.0
    checked: float = 0.0
    not_before: float = 0.0
    affine: bool = False
    sandbox: str = ""
    proven: bool = False
    builds: int = 0
    faults: int = 0
    failures: int = 0
    misses: int = 0
    strikes: int = 0
    reason: str = ""
    drained: str = ""
    removing: bool = False
    in_use: int = 0
    foreign: str = ""
    ticket: int = 0
    server: str = ""
    terminate: str = ""
    data: str = ""

    @property
    def usable(self) -> bool:
        """A build may be given to it, if it has a free slot."""
        return self.state is State.READY and not self.drained and not self.removing

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """What `to_dict` made, perhaps by another version; raises ValueError if it is none."""
        known = {entry.name for entry in fields(cls)}
        values = {name: value for name, value in raw.items() if name in known}
        try:
            values |= {"kind": Kind(raw["kind"]), "state": State(raw["state"])}
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no record of a host: {error}") from error

    def to(self, state: State, now: float, reason: str = "", wait: float = 0.0) -> Self:
        """In another state; not to be looked at again for `wait` seconds."""
        since = self.since if state is self.state else now
        return replace(self, state=state, since=since, reason=reason, not_before=now + wait)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A worker holds a slot of a host. `pid` and `start` identify its process."""

    worker: str
    host: str
    task: str
    sandbox: str
    pid: int
    start: int
    since: float
    token: int = 0


@dataclass(frozen=True, kw_only=True)
class Request:
    """A worker waits for a host; `tried` are those on which its task has failed."""

    worker: str
    number: str
    group: int
    task: str
    sandbox: str
    pid: int
    start: int
    since: float
    tried: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the configuration says of all pools."""

    quarantine_after: int = 3
    check_interval: float = 60.0
    spawn_timeout: float = 900.0


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """`count` failures in a row of something that is tried again, not before a time."""

    count: int = 0
    reason: str = ""
    not_before: float = 0.0

    def again(self, why: str, now: float, longest: float = 300.0) -> Self:
        """One more failure: the pause is 1, 2, 4, … seconds."""
        pause = min(2.0 ** min(self.count, 20), longest)
        return replace(self, count=self.count + 1, reason=why, not_before=now + pause)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that decisions look at. `groups` are the builder groups' configurations."""

    machines: Mapping[str, Machine]
    leases: Mapping[str, Lease]
    waiting: tuple[Request, ...]
    groups: Mapping[int, Any]
    rules: Rules
    now: float
    spawning: Mapping[int, Trouble] = field(default_factory=dict)

    def used(self, name: str) -> int:
        """How many slots of a host are in use."""
        return sum(lease.host == name for lease in self.leases.values())

    def of(self, group: int) -> list[Machine]:
        """The machines of a group."""
        return [machine for machine in self.machines.values() if machine.group == group]


def settled(machine: Machine, now: float) -> Machine:
    """The same, of a record from before. What it says of the future was noted by a clock that has
    been put back since: it counts as of now, or a pause would last until then."""
    early = {name: min(getattr(machine, name), now) for name in _PAST}
    if early == {name: getattr(machine, name) for name in _PAST}:
        return machine
    return replace(machine, **early, not_before=min(machine.not_before, now))


def taken(machines: Iterable[Machine], new: Machine, address: str, foreign: str = "") -> str:
    """Why a machine of this address, and this name of its own, cannot be a new one: another has
    it. Empty if none has.

    A machine that is being ended exists still. A ticket that is being closed does not count: by
    then its server may have given the host to the next.
    """

    def place(text: str) -> str:
        return text.rpartition("@")[2].lower()

    for machine in machines:
        over = machine.kind is Kind.TICKET and machine.state is State.ENDING
        if machine.name == new.name or over:
            continue
        if machine.address and place(machine.address) == place(address):
            return f"{address} is the address of host {machine.name} already"
        if foreign and foreign in (machine.name, machine.foreign):
            return f"{foreign} is the name of host {machine.name} already"
    return ""


def others(machines: Iterable[Machine], machine: Machine) -> list[str]:
    """Addresses of all other machines: it must be none of them under a second name. Groups may
    share a host, by the same address. Of a ticket that is being closed see `taken`."""
    closing = (Kind.TICKET, State.ENDING)
    there = {one.address for one in machines if (one.kind, one.state) != closing}
    return sorted(there - {"", "local", machine.address})


def places(groups: Iterable[Any], machine: Machine) -> int:
    """Builds at once that the farm may have there: groups that share a host have their slots
    each."""
    shared = [int(g.max_per_host) for g in groups if machine.address in g.hosts]
    return max(machine.slots, sum(shared))


def quarantine_pause(strikes: int) -> float:
    """Seconds until a host in quarantine is tried again, the `strikes`-th time."""
    return min(QUARANTINE * 2.0 ** min(max(0, strikes - 1), 20), LONGEST_QUARANTINE)


def _quarantine(machine: Machine, why: str, now: float) -> Machine:
    strikes = machine.strikes + 1
    pause = quarantine_pause(strikes)
    return replace(machine.to(State.QUARANTINED, now, why, pause), strikes=strikes)


def passed(machine: Machine, now: float, rules: Rules) -> Machine:
    """A check found nothing wrong. One that comes out of quarantine is on probation: the next
    failure puts it back, for longer."""
    failures = machine.failures
    if machine.state is State.QUARANTINED:
        failures = max(failures, rules.quarantine_after - 1)
    idle = machine.idle_since if machine.proven else now
    ready = machine.to(State.READY, now)
    return replace(ready, failures=failures, misses=0, checked=now, idle_since=idle, proven=True)


def missed(machine: Machine, why: str, now: float, rules: Rules) -> Machine:
    """A check went wrong."""
    machine = replace(machine, misses=machine.misses + 1, checked=now)
    if machine.kind is not Kind.STATIC:
        if not machine.proven:
            if now - machine.born < rules.spawn_timeout:
                return machine.to(State.CHECKING, now, why, KNOCK)
            return machine.to(State.ENDING, now, f"it never answered: {why}")
        if machine.misses >= rules.quarantine_after:
            return machine.to(State.ENDING, now, why)
    elif machine.state is State.QUARANTINED and now < machine.not_before:
        return replace(machine, reason=why)  # it was asked before its time: that costs nothing
    elif machine.state is State.QUARANTINED or machine.misses >= rules.quarantine_after:
        return _quarantine(machine, why, now)
    return machine.to(State.CHECKING, now, why, KNOCK * 2.0 ** min(machine.misses - 1, 5))


def released(machine: Machine, outcome: Outcome, why: str, now: float, rules: Rules) -> Machine:
    """A lease has ended. A machine made on demand that failed is not tried again."""
    machine = replace(machine, idle_since=now)
    if outcome in (Outcome.WORKED, Outcome.FAULT):
        machine = replace(machine, builds=machine.builds + 1)
    if outcome is Outcome.WORKED:
        machine = replace(machine, failures=0, strikes=0, checked=now)
    if machine.kind is Kind.TICKET and machine.state is not State.ENDING:
        return machine.to(State.ENDING, now, why or "its ticket is used")
    if outcome in (Outcome.WORKED, Outcome.NEUTRAL):
        return machine
    return _spoiled(machine, outcome, why, now, rules)


def _spoiled(machine: Machine, outcome: Outcome, why: str, now: float, rules: Rules) -> Machine:
    if outcome is not Outcome.DIED:  # a dead worker is no fault of its host
        machine = replace(machine, failures=machine.failures + 1, faults=machine.faults + 1)
    if machine.state not in (State.READY, State.CHECKING):
        return machine
    if machine.kind is not Kind.STATIC:
        return machine.to(State.ENDING, now, why)
    if outcome is not Outcome.DIED and machine.failures >= rules.quarantine_after:
        return _quarantine(machine, why, now)
    return machine.to(State.CHECKING, now, why)
