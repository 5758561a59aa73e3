"""Checks what the configuration says of hosts; `backend.config` calls it."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

#: What any transport may take for an address.
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/]+")
_HTTP = re.compile(r"https?://[^\s/]+(/\S*)?")
_PREFIX = re.compile(r"[A-Za-z0-9-]{0,40}")
_COMMANDS = ("spawn_command", "terminate_command", "list_command")


def wrong_hosts(config: Any) -> Iterator[str]:
    """One line for each problem of a `Config`, with the remedy."""
    for group in config.groups:
        for problem in (*_hosts(group), *_commands(group), *_resalloc(group)):
            yield f"{config.path}: group{group.id}_{problem}"
    if not _PREFIX.fullmatch(config.hosts_prefix):
        yield f"{config.path}: [hosts] prefix: letters, digits and - only, at most 40"


def _hosts(group: Any) -> Iterator[str]:
    for host in group.hosts:
        if host != "local" and not ADDRESS.fullmatch(host):
            yield f"hosts = {host}: write local or ssh://USER@HOST[:PORT]"
    if len(set(map(_place, group.hosts))) < len(group.hosts):
        yield "hosts: a host is named twice: give it more slots with max_per_host"
    if group.preallocate > group.max_hosts:
        yield f"preallocate = {group.preallocate}: must be at most max_hosts"


def _place(address: str) -> str:
    """The same for two ways to write one address; names of hosts have no case."""
    user, at, host = address.rpartition("@")
    return f"{user}{at}{host.lower().removesuffix(':22')}"


def _commands(group: Any) -> Iterator[str]:
    for name in _COMMANDS:
        try:
            shlex.split(getattr(group, name))
        except ValueError as error:
            yield f"{name}: {error}: correct the quotes"
    if group.spawn_command and not group.terminate_command:
        yield "terminate_command is empty: nobody could end what spawn_command starts"
    if group.spawn_command and group.resalloc_connection:
        yield "spawn_command and resalloc_connection: a group has one of them"


def _resalloc(group: Any) -> Iterator[str]:
    if not group.resalloc_connection:
        return
    if not group.resalloc_tags:
        yield "resalloc_tags is empty: name the tags of the machines"
    if not _HTTP.fullmatch(group.resalloc_connection):
        yield "resalloc_connection: write http://HOST:PORT"
