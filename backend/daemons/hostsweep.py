"""Finds machines that exist and that nobody knows, and ends them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backend.daemons import hostwork
from backend.daemons.errands import Ended, Errands
from backend.hosts.pool import Kind, Machine, State, Trouble


class Sweep:
    """`keeper` is the HostKeeper. A machine is ours if its name begins with our prefix, or a tag
    says so.

    A name that begins so was on record before the machine was: unknown means leaked. A machine
    with a name of its own may just be starting; it has the time for that.
    """

    def __init__(self, keeper: Any, errands: Errands, say: Callable[..., None]) -> None:
        self._keeper, self._errands, self._say = keeper, errands, say
        self._next: dict[int, float] = {}
        self._seen: dict[str, float] = {}
        self._orphans: dict[str, tuple[Machine, Trouble]] = {}
        self._told: dict[int, str] = {}

    def _groups(self) -> list[Any]:
        return [group for group in self._keeper.groups.values() if group.list_command]

    def due(self, now: float) -> float:
        """When something is to be done next."""
        moments = [self._next.get(group.id, now) for group in self._groups()]
        busy = self._errands.busy("orphan")
        moments += [t.not_before for name, (_, t) in self._orphans.items() if name not in busy]
        return min(moments, default=float("inf"))

    def step(self, now: float) -> None:
        """List where it is time, end what was found."""
        keeper = self._keeper
        for group in self._groups():
            name = f"group {group.id}"
            if now >= self._next.get(group.id, 0.0) and name not in self._errands.busy("list"):
                self._next[group.id] = now + keeper.config.hosts_sweep_interval
                work = hostwork.list_machines(keeper.config, group, keeper.prefix)
                self._errands.send("list", name, work, keeper.config.hosts_command_timeout, now)
        for name, (machine, trouble) in self._orphans.items():
            if now >= trouble.not_before and name not in self._errands.busy("orphan"):
                group = keeper.groups.get(machine.group)
                work = hostwork.end(keeper.config, group, machine, keeper.prefix)
                self._errands.send("orphan", name, work, keeper.config.hosts_command_timeout, now)

    def ended(self, ended: Ended, now: float) -> None:
        """A list has come, or an orphan was ended, or not."""
        if ended.kind == "orphan":
            self._orphan_ended(ended, now)
            return
        group_id = int(ended.name.rpartition(" ")[2])
        if ended.error:
            if ended.error != self._told.get(group_id):
                text = f"machines of group {group_id} cannot be listed: {ended.error}"
                self._say(text, "error", kind="host.unlisted")
            self._told[group_id] = ended.error
            return
        self._told.pop(group_id, None)
        self._look(group_id, ended.result["machines"], now)

    def _look(self, group_id: int, listed: list[list[str]], now: float) -> None:
        keeper, seen = self._keeper, {}
        for name, *tags in listed:
            begins = name.startswith(f"{keeper.prefix}-")
            if keeper.knows(name) or name in self._orphans or not (begins or keeper.prefix in tags):
                continue
            seen[name] = self._seen.get(name, now)
            if begins or now - seen[name] > keeper.config.hosts_spawn_timeout:
                self._condemn(name, group_id, now)
        self._seen = seen

    def _condemn(self, name: str, group_id: int, now: float) -> None:
        self._say(f"machine {name} was leaked: it is ended", "warning", kind="host.leaked")
        group = self._keeper.groups[group_id]
        machine = Machine(
            name=name,
            group=group_id,
            kind=Kind.SPAWNED,
            state=State.ENDING,
            born=now,
            terminate=group.terminate_command,
        )
        self._orphans[name] = (machine, Trouble())

    def _orphan_ended(self, ended: Ended, now: float) -> None:
        machine, trouble = self._orphans[ended.name]
        if not ended.error:
            del self._orphans[ended.name]
            self._say(f"leaked machine {ended.name} is gone", kind="host.gone")
            return
        trouble = trouble.again(ended.error, now)
        self._orphans[ended.name] = (replace(machine, reason=ended.error), trouble)
        text = f"leaked machine {ended.name} cannot be ended ({trouble.count} tries): {ended.error}"
        self._say(text, "error", kind="host.stuck")
