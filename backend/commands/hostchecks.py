"""What `copr_be.py check` looks at of build hosts: nobody is connected to."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from backend.commands.account import Account
from backend.commands.finding import Finding
from backend.config import Config, Group
from backend.exceptions import ConfigError, ToolError
from backend.hosts.address import Host
from backend.hostwords import ADDRESS
from backend.process import find


def everything(config: Config, account: Account) -> Iterator[Finding]:
    """What ssh needs and each address, where a group has hosts; `account` is the daemon's."""
    if config.hosts_transport != "ssh" or not any(map(_away, config.groups)):
        return
    faults = [*_program(), *_addresses(config)]
    faults += [*_key(config, account), *_known(config, account), *_settings(config, account)]
    for fault in faults:
        yield Finding("hosts", "fault", fault)
    if not faults:
        hosts = {host for group in config.groups for host in group.hosts if host != "local"}
        yield Finding("hosts", "ok", ", ".join(sorted(hosts)) or "machines that are made")


def _away(group: Group) -> bool:
    return group.on_demand or any(host != "local" for host in group.hosts)


def _program() -> Iterator[str]:
    try:
        find("ssh")
    except ToolError as error:
        yield str(error)


def _addresses(config: Config) -> Iterator[str]:
    for group in config.groups:
        for host in group.hosts:
            try:
                if ADDRESS.fullmatch(host):  # else the configuration was refused for it
                    Host.parse(host)
            except ConfigError as error:
                yield f"{config.path}: group{group.id}_hosts: {error}"


def _key(config: Config, account: Account) -> Iterator[str]:
    if not config.hosts_identity:
        return
    path = Path(config.hosts_identity)
    make = f'ssh-keygen -t ed25519 -N "" -f {path}'
    wrong = list(_file("identity", path, account, f"make a key ({make}) or correct identity"))
    yield from wrong
    if wrong:
        return
    info = path.stat()
    # ssh itself looks only at keys of who calls it.
    if info.st_mode & (stat.S_IRWXO | (stat.S_IRWXG if info.st_uid == account.uid else 0)):
        yield (
            f"[hosts] identity = {path}: others than the daemon's user may read or change this key:"
            f" chown {account} {path}; chmod 600 {path}"
        )


def _known(config: Config, account: Account) -> Iterator[str]:
    path = Path(config.hosts_known_hosts)
    remedy = f"ssh-keyscan HOST >>{path}, or correct known_hosts"
    # Machines that are made may tell their keys themselves.
    needed = any(host != "local" for group in config.groups for host in group.hosts)
    if config.hosts_known_hosts and (needed or os.path.lexists(path)):
        yield from _file("known_hosts", path, account, remedy)


def _settings(config: Config, account: Account) -> Iterator[str]:
    if config.hosts_ssh_config:
        yield from _file("ssh_config", Path(config.hosts_ssh_config), account, "correct ssh_config")


def _file(key: str, path: Path, account: Account, remedy: str) -> Iterator[str]:
    """What keeps the daemon from reading it, if anything."""
    what = f"[hosts] {key} = {path}"
    try:
        if not path.is_file():
            yield f"{what}: {'no file' if path.exists() else 'it does not exist'}: {remedy}"
        elif not account.may_read(path):
            yield f"{what}: the daemon's user ({account}) cannot read it: correct its owner or mode"
    except OSError as error:
        yield f"{what}: {error.strerror}: {remedy}"
