"""What a keeper of the pools takes over: hosts of the configuration, machines on record."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from backend.config import Config, Group
from backend.hosts import ledger
from backend.hosts.pool import Kind, Machine, State


def configured(groups: Iterable[Group], told: Mapping[str, str], now: float) -> list[Machine]:
    """The hosts of the configuration, as `told` (name → JSON) knows them from before."""
    found: dict[str, Machine] = {}
    for group in groups:
        for address in group.hosts:
            name = address.rpartition("://")[2]
            if name in found:  # another group's: each counts its own slots
                name = f"{name}/{group.id}"
            before = _before(told, name)
            found[name] = replace(
                before or Machine(
                    name=name, group=group.id, kind=Kind.STATIC, state=State.CHECKING, born=now,
                    since=now,
                ),
                group=group.id, address=address, slots=group.max_per_host,
            )  # fmt: skip
    return list(found.values())


def _before(told: Mapping[str, str], name: str) -> Machine | None:
    try:
        found = Machine.from_dict(json.loads(told[name]))
    except (KeyError, ValueError):
        return None
    return found if found.kind is Kind.STATIC else None


def adopted(
    config: Config, machine: Machine, now: float, *, away: bool, say: Callable[..., None]
) -> Machine:
    """A machine on record, as it goes on; `away` if the whole daemon was."""
    if machine.kind is Kind.TICKET and not machine.ticket:
        machine = replace(machine, ticket=ledger.ticket(config, machine.name))
    if machine.state is State.STARTING and not machine.ticket:
        say(f"host {machine.name}: its start was interrupted: it is ended", "warning")
        return machine.to(State.ENDING, now, "its start was interrupted")
    if machine.state in (State.READY, State.CHECKING) and away:
        return machine.to(State.CHECKING, now)
    return machine
