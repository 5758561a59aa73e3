"""What the errands of the hosts helper do, each in a process of its own."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from backend.chroot import Chroot
from backend.config import Config, Group
from backend.exceptions import HostError, HostTwice, InfrastructureError
from backend.hosts import commands, lease, ledger, resalloc
from backend.hosts.pool import Kind, Machine

Work = Callable[[], Mapping[str, Any]]


def check(
    config: Config, group: Group | None, machine: Machine, others: Sequence[str] = ()
) -> Work:
    """Reach it, and ask whether it can build for any architecture of its group, and whether it is
    none of `others` under a second name."""

    def work() -> dict[str, Any]:
        if machine.address != "local":
            hosted = lease.connect(config, machine)
            try:
                _fitting(machine, hosted.chroots(), group.archs if group else ())
                _single(hosted, machine, others)
            finally:
                hosted.close()
        return {}

    return work


def _fitting(machine: Machine, chroots: Iterable[Chroot], archs: Sequence[str]) -> None:
    """Raises HostError when no build of the group can be for this host."""
    built = {chroot.arch for chroot in chroots}
    if archs and not built.intersection(archs):
        raise HostError(
            f"host {machine.name}: it builds for {', '.join(sorted(built)) or 'nothing'}, its group"
            f" is for {', '.join(archs)}: correct archs, or take the host out of the group"
        )


def _single(hosted: Any, machine: Machine, others: Sequence[str]) -> None:
    """Raises HostTwice when the machine is one of the others. A transport need not know."""
    claim = getattr(hosted, "claim", None)
    known = claim(machine.address, others) if claim else machine.address
    if known != machine.address:
        raise HostTwice(
            f"host {machine.name}: it is {known} under another name: name it once, and give it"
            " more slots with max_per_host"
        )


def spawn(config: Config, group: Group, machine: Machine, prefix: str) -> Work:
    """Run spawn_command; the result has the machine's address."""

    def work() -> dict[str, Any]:
        values = commands.facts(machine, prefix)
        limit = config.hosts_spawn_timeout
        printed = commands.execute("spawn_command", group.spawn_command, values, limit)
        answer = commands.read_answer(printed, group.host_user)
        if answer.host_key:
            match = re.fullmatch(r"ssh://[^@]+@\[?([^\]]+?)\]?(?::([0-9]+))?", answer.address)
            if match:
                host, port = match.group(1), int(match.group(2) or 22)
                ledger.keep_key(config, machine.name, host, port, answer.host_key)
        return {"address": answer.address, "foreign": answer.foreign, "data": answer.data}

    return work


def take_ticket(config: Config, group: Group, machine: Machine) -> Work:
    """Ask resalloc for a machine; the number of the ticket is on disk before anything else."""

    def work() -> dict[str, Any]:
        server = resalloc.Resalloc(group.resalloc_connection)
        number = server.take(group.resalloc_tags, machine.sandbox)
        ledger.keep_ticket(config, machine.name, number)
        return {"ticket": number}

    return work


def collect_ticket(group: Group, machine: Machine) -> Work:
    """See how far the ticket is; no address means not yet."""

    def work() -> dict[str, Any]:
        found = resalloc.Resalloc(machine.server).collect(machine.ticket)
        if not found.ready:
            return {}
        host = resalloc.host_of(found.output, machine.ticket)
        try:
            address = commands.make_url(host, group.host_user, what="its output")
        except InfrastructureError as error:  # what it says will not change
            raise resalloc.TicketLost(f"resalloc ticket {machine.ticket}: {error}") from error
        return {"address": address, "data": found.output[: commands.DATA]}

    return work


def end(config: Config, group: Group | None, machine: Machine, prefix: str) -> Work:
    """End it, with the command of today if there is one, else with that of its start."""

    def work() -> dict[str, Any]:
        if machine.kind is Kind.TICKET:
            if machine.ticket:
                resalloc.Resalloc(machine.server).close(machine.ticket)
            return {}
        command = (group.terminate_command if group else "") or machine.terminate
        if not command:
            raise InfrastructureError("terminate_command is empty: set it")
        if not machine.address:
            commands.stop(machine.name)
        values = commands.facts(machine, prefix)
        commands.execute("terminate_command", command, values, config.hosts_command_timeout)
        return {}

    return work


def list_machines(config: Config, group: Group, prefix: str) -> Work:
    """Run list_command."""

    def work() -> dict[str, Any]:
        values = {"prefix": prefix, "group": str(group.id)}
        limit = config.hosts_command_timeout
        printed = commands.execute("list_command", group.list_command, values, limit)
        listed = commands.read_list(printed)
        return {"machines": [[entry.name, *entry.tags] for entry in listed]}

    return work
