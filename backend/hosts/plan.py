"""Who gets which host, which machines are started, checked and ended, why a build waits: pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from backend.hosts.pool import Kind, Machine, Request, Scene, State, Trouble

#: Machines of one group that are being started at the same time.
STARTS_AT_ONCE = 8
_COMING = (State.STARTING, State.CHECKING)


def affine(group: object, kind: Kind) -> bool:
    """True when a used machine serves only the same people. Builds on hosts of the configuration
    are strangers to each other by their sandbox alone; a ticket is asked for by sandbox."""
    if kind is Kind.TICKET:
        return True
    return kind is Kind.SPAWNED and getattr(group, "host_affinity", "sandbox") != "none"


# --- who gets which host ---------------------------------------------------------------------


def assign(scene: Scene) -> list[tuple[Request, Machine]]:
    """Waiting builds and their hosts, who waits longest first. A machine that is bound by this
    is returned with its sandbox."""
    machines = dict(scene.machines)
    used = Counter(lease.host for lease in scene.leases.values())
    found = []
    for request in sorted(scene.waiting, key=lambda request: (request.since, request.worker)):
        machine = _best(request, scene, machines.values(), used)
        if machine is None:
            continue
        if machine.affine and not machine.sandbox:
            machine = machines[machine.name] = _bound(machine, request.sandbox)
        used[machine.name] += 1
        found.append((request, machine))
    return found


def _bound(machine: Machine, sandbox: str) -> Machine:
    return Machine.from_dict({**machine.to_dict(), "sandbox": sandbox})


def _best(
    request: Request, scene: Scene, machines: Iterable[Machine], used: Mapping[str, int]
) -> Machine | None:
    mine = [machine for machine in machines if machine.group == request.group]
    free = [
        machine
        for machine in mine
        if machine.usable
        and used.get(machine.name, 0) < machine.slots
        and _serves(machine, request)
    ]
    fresh = [machine for machine in free if machine.name not in request.tried]
    if not fresh and free and _another(request, scene, mine):
        return None

    def rank(machine: Machine) -> tuple[object, ...]:
        # Its own first, then what costs nothing, then the emptiest, then who rested longest.
        own = machine.affine and machine.sandbox == request.sandbox
        static = machine.kind is Kind.STATIC
        return (not own, not static, used.get(machine.name, 0), machine.idle_since, machine.name)

    return min(fresh or free, key=rank, default=None)


def _serves(machine: Machine, request: Request) -> bool:
    return not machine.affine or machine.sandbox in ("", request.sandbox)


def _another(request: Request, scene: Scene, mine: Sequence[Machine]) -> bool:
    """True when a host will come on which the task has not failed yet."""
    for machine in mine:
        alive = machine.state in (State.READY, *_COMING) and not machine.drained
        if alive and machine.name not in request.tried and _serves(machine, request):
            return True
    group = scene.groups.get(request.group)
    return bool(group and group.on_demand and _room(scene, request.group) > 0)


# --- machines on demand ----------------------------------------------------------------------


def _made(scene: Scene, group: int) -> list[Machine]:
    return [machine for machine in scene.of(group) if machine.kind is not Kind.STATIC]


def _room(scene: Scene, group: int) -> int:
    """How many machines more the group may have. Those that are being ended exist still."""
    return int(scene.groups[group].max_hosts) - len(_made(scene, group))


def unserved(scene: Scene, group: int) -> list[Request]:
    """Requests of the group that `assign` leaves waiting."""
    served = {request.worker for request, _ in assign(scene)}
    return [r for r in scene.waiting if r.group == group and r.worker not in served]


def _missing(scene: Scene, group_id: int) -> list[str]:
    """The sandboxes for which a machine must be made; empty: for anybody."""
    group = scene.groups[group_id]
    needs = Counter(request.sandbox for request in unserved(scene, group_id))
    made = _made(scene, group_id)
    if group.resalloc_connection:
        coming = Counter(machine.sandbox for machine in made if machine.state in _COMING)
        lacking = needs - coming
        return [name for name in sorted(lacking) for _ in range(lacking[name])]
    slots = group.max_per_host
    if group.host_affinity == "none":
        needed = -(-needs.total() // slots)
    else:
        needed = sum(-(-number // slots) for number in needs.values())
    taken = {machine.name for _, machine in assign(scene)}
    spare = [
        machine
        for machine in made
        if not machine.sandbox and not machine.removing and not machine.drained
        and (machine.state in _COMING or (machine.usable and machine.name not in taken
                                          and not scene.used(machine.name)))
    ]  # fmt: skip
    return [""] * max(0, needed + group.preallocate - len(spare))


def starts(scene: Scene, group_id: int) -> list[str]:
    """For whom a machine is to be started now: a list of sandboxes, empty for anybody.

    After a failure it is tried with one at a time, and not before its pause is over.
    """
    group = scene.groups.get(group_id)
    if group is None or not group.on_demand:
        return []
    trouble = scene.spawning.get(group_id, Trouble())
    starting = sum(machine.state is State.STARTING for machine in _made(scene, group_id))
    most = min(_room(scene, group_id), STARTS_AT_ONCE - starting)
    if trouble.count:
        most = min(most, 1 - starting) if scene.now >= trouble.not_before else 0
    return _missing(scene, group_id)[: max(0, most)]


def ends(scene: Scene) -> dict[str, str]:
    """Machines that are to be ended now, and why. Never one that a build uses."""
    found: dict[str, str] = {}
    served = {machine.name for _, machine in assign(scene)}
    for group_id in {machine.group for machine in scene.machines.values()}:
        idle = [
            machine
            for machine in _made(scene, group_id)
            if machine.state is not State.ENDING
            and not scene.used(machine.name)
            and machine.name not in served
        ]
        found |= _ends_of_group(scene, group_id, idle)
    return found


def _ends_of_group(scene: Scene, group_id: int, idle: list[Machine]) -> Iterator[tuple[str, str]]:
    group = scene.groups.get(group_id)
    if group is None or not group.on_demand:
        return ((m.name, "its group makes no machines any more") for m in idle)
    return iter({**_not_needed(scene, group_id, idle), **_removed(idle)}.items())


def _removed(idle: list[Machine]) -> dict[str, str]:
    return {machine.name: "removed by hand" for machine in idle if machine.removing}


def _not_needed(scene: Scene, group_id: int, idle: list[Machine]) -> dict[str, str]:
    group, found = scene.groups[group_id], {}
    wanted = Counter(request.sandbox for request in unserved(scene, group_id))
    idle = [machine for machine in idle if not machine.drained]
    if group.resalloc_connection:
        for machine in sorted(idle, key=lambda machine: machine.born):
            wanted[machine.sandbox] -= 1
            if wanted[machine.sandbox] < 0:
                found[machine.name] = "no build waits for it any more"
        return found
    rested = [m for m in idle if m.state is State.READY]
    old = [m for m in rested if scene.now - m.idle_since >= group.host_idle_time]
    spare = [m for m in idle if not m.sandbox]
    surplus = len(spare) - group.preallocate - sum(wanted.values())
    for machine in sorted(old, key=lambda machine: machine.idle_since):
        if not machine.sandbox:
            if surplus <= 0:
                continue
            surplus -= 1
        found[machine.name] = f"idle for {group.host_idle_time} s"
    left = sorted((m for m in rested if m.name not in found), key=lambda m: m.idle_since)
    for machine in _too_many(scene, group_id, left, wanted, moving=bool(found)):
        found[machine.name] = "makes room"
    return found


def _too_many(
    scene: Scene, group_id: int, idle: list[Machine], wanted: Mapping[str, int], *, moving: bool
) -> list[Machine]:
    """What there are more of than max_hosts allows; or one that is kept for people who do not
    come, where others wait and nothing is on its way to them."""
    over = -_room(scene, group_id)
    if over > 0:
        return idle[:over]
    coming = any(m.state in (*_COMING, State.ENDING) for m in _made(scene, group_id))
    if over < 0 or coming or moving or not wanted:
        return []
    return [m for m in idle if m.sandbox and m.sandbox not in wanted][:1]


# --- checks ----------------------------------------------------------------------------------


def checks(scene: Scene, busy: set[str]) -> list[str]:
    """Hosts that are to be checked now; not those in `busy`."""
    return [machine.name for machine in scene.machines.values()
            if machine.name not in busy and scene.now >= check_due(scene, machine)]  # fmt: skip


def check_due(scene: Scene, machine: Machine) -> float:
    """When the host is to be checked; infinite if it is not."""
    if machine.state is State.CHECKING:
        return machine.not_before
    if machine.state is State.QUARANTINED:
        if machine.misses and _stuck(scene, machine.group):
            return min(machine.not_before, machine.checked + scene.rules.check_interval)
        return machine.not_before
    if machine.state is State.READY and not scene.used(machine.name):
        return max(machine.checked, machine.idle_since) + scene.rules.check_interval
    return float("inf")


def _stuck(scene: Scene, group: int) -> bool:
    """True when builds wait, and no host of the group can be hoped for."""
    hope = (State.READY, *_COMING)
    return any(request.group == group for request in scene.waiting) and not any(
        machine.state in hope and not machine.drained for machine in scene.of(group)
    )


# --- for people ------------------------------------------------------------------------------


def why(scene: Scene, request: Request) -> str:
    """Why the build has no host yet."""
    group = scene.groups.get(request.group)
    if group is None:
        return "its group is not in the configuration any more"
    counts: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for machine in scene.of(request.group):
        word = _word(scene, machine, request)
        counts[word] += 1
        if machine.reason or machine.drained:
            reasons[word] = machine.drained if word == "drained" else machine.reason
    parts = [
        f"{number} {word}" + (f": {reasons[word]}" if reasons.get(word) else "")
        for word, number in sorted(counts.items())
    ]
    trouble = scene.spawning.get(request.group)
    if trouble and trouble.count:
        parts.append(f"new machines fail ({trouble.count} in a row): {trouble.reason}")
    elif group.on_demand and _room(scene, request.group) <= 0:
        parts.append(f"at most {group.max_hosts} machines (max_hosts)")
    text = ", ".join(parts) or "no host yet"
    return f"no free host in group {group.name}: {text}"


def _word(scene: Scene, machine: Machine, request: Request) -> str:
    if machine.drained:
        return "drained"
    if machine.state is State.QUARANTINED:
        return "quarantined"
    if machine.state is State.CHECKING:
        return "being checked"
    if machine.state is not State.READY:
        return str(machine.state)
    if scene.used(machine.name) >= machine.slots:
        return "busy"
    if not _serves(machine, request):
        return "kept for others"
    return "tried before" if machine.name in request.tried else "free"


def shown(scene: Scene, machine: Machine) -> str:
    """The state of a host in one word: as above, or `busy`."""
    if machine.drained:
        return "drained"
    if machine.state is State.READY and scene.used(machine.name):
        return "busy"
    return str(machine.state)
