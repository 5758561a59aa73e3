"""The commands that make, end and list machines: what they are told, what their output means.

Each runs with time and output limits; every fault is one InfrastructureError.
"""

import contextlib
import json
import os
import re
import select
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.exceptions import InfrastructureError, ToolError
from backend.hosts.pool import Machine
from backend.process import CLEAN_ENV, run_apart

#: Most bytes that a command may print.
OUTPUT = 1024**2
#: Lines at the end of that in which spawn_command's answer is looked for.
LINES = 200
#: Most characters of what spawn_command printed that are kept for terminate_command.
DATA = 8192
#: How long what is killed may take to be gone, in seconds.
STOP = 10.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,199}")
_HOST = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Fa-f:]{2,45}"
)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}")
_WORD = re.compile(r"\{(name|group|prefix|address|id)\}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What spawn_command said of its machine: a URL, its own name, the key of its ssh server."""

    address: str
    foreign: str = ""
    host_key: str = ""
    data: str = ""


def environment(values: Mapping[str, str]) -> dict[str, str]:
    """Of these commands: short, with HOME for their credentials, and what they need to know."""
    own = {name: os.environ[name] for name in ("HOME", "USER", "LOGNAME") if name in os.environ}
    told = {f"COPR_BE_{name.upper()}": value for name, value in values.items()}
    return {**CLEAN_ENV, **own, **told}


def facts(machine: Machine, prefix: str) -> dict[str, str]:
    """What a command may want to know of a machine."""
    return {
        "name": machine.name,
        "id": machine.foreign or machine.name,
        "group": str(machine.group),
        "prefix": prefix,
        "address": machine.address,
        "data": machine.data,
    }


def words(command: str, values: Mapping[str, str]) -> list[str]:
    """The argument list; `{name}` and the others are put in after the split, so that no value
    can become two words."""
    return [_WORD.sub(lambda m: values.get(m.group(1), ""), word) for word in shlex.split(command)]


def stop(name: str) -> None:
    """Kill what still runs of a spawn_command that was interrupted: it could make the machine
    after its end. Programs of others, and on other machines, are out of reach."""
    mark, deadline = f"COPR_BE_NAME={name}".encode(), time.monotonic() + STOP
    while (found := _marked(mark)) and time.monotonic() < deadline:
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        select.select([], [], [], 0.01)


def _marked(mark: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def execute(what: str, command: str, values: Mapping[str, str], timeout: float) -> bytes:
    """Run a command and return what it printed; raises InfrastructureError."""
    argv = words(command, values)
    try:
        result = run_apart(argv, timeout=timeout, env=environment(values), limit=OUTPUT)
    except (ToolError, OSError) as error:
        raise InfrastructureError(f"{what}: {error}") from error
    if result.code:
        said = f": {_short(result.last_line)}" if result.stdout or result.stderr else ""
        how = f"exit code {result.code}" if result.code > 0 else f"killed by signal {-result.code}"
        raise InfrastructureError(f"{what}: {how}{said}")
    return result.stdout


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:300])


def read_answer(printed: bytes, user: str, what: str = "spawn_command") -> Answer:
    """The address in what spawn_command printed: its last line that is a JSON object.

    Raises InfrastructureError when there is none, or it is none that can be used.
    """
    raw = _last_object(printed)
    if raw is None:
        text = printed.decode("utf-8", "replace").strip()
        shown = f"it printed {_short(text[-200:])!r}" if text else "it printed nothing"
        raise InfrastructureError(f'{what}: {shown}, no JSON like {{"address": "user@host"}}')
    address = _url(raw, user, what)
    foreign, key = raw.get("name", ""), raw.get("host_key", "")
    if not isinstance(foreign, str) or (foreign and not _NAME.fullmatch(foreign)):
        raise InfrastructureError(f"{what}: name {_short(repr(foreign))} cannot be used")
    if not isinstance(key, str) or len(key) > 4096 or not key.isprintable():
        raise InfrastructureError(f"{what}: host_key must be one line, as in known_hosts")
    return Answer(address=address, foreign=foreign, host_key=key, data=json.dumps(raw)[:DATA])


def _last_object(printed: bytes) -> dict[str, Any] | None:
    text = printed.decode("utf-8", "replace").strip()
    lines = text.splitlines()[-LINES:]
    # The whole, one line of it, or several up to the end: some programs print it indented.
    ends = ["\n".join(lines[n:]) for n, line in enumerate(lines) if line.rstrip() == "{"]
    for part in (text, *reversed(lines), *reversed(ends)):
        try:
            raw = json.loads(part)
        except (ValueError, RecursionError):
            continue
        if isinstance(raw, dict):
            return raw
    return None


def _url(raw: Mapping[str, Any], user: str, what: str) -> str:
    text, port = raw.get("address"), raw.get("port", 22)
    if not isinstance(text, str) or not text:
        raise InfrastructureError(f"{what}: its JSON has no address")
    if isinstance(port, str) and re.fullmatch(r"[0-9]{1,5}", port):
        port = int(port)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise InfrastructureError(f"{what}: port {_short(repr(port))} is no port")
    return make_url(text, user, port, what)


def make_url(text: str, user: str, port: int = 22, what: str = "address") -> str:
    """`host`, `user@host`, or a whole URL, as the URL of a host."""
    scheme, _, rest = text.rpartition("://")
    if scheme and scheme != "ssh":  # some other transport's: its own business
        if not re.fullmatch(r"[a-z][a-z0-9+.-]{0,20}", scheme) or not re.fullmatch(r"\S+", rest):
            raise InfrastructureError(f"{what}: {_short(repr(text))} is no address")
        return text
    name, _, host = rest.rpartition("@")
    name = name or user
    if scheme and (match := re.fullmatch(r"(.*):([0-9]{1,5})", host)):
        host, port = match.group(1), int(match.group(2))
    if not _HOST.fullmatch(host) or not _USER.fullmatch(name) or not 0 < port < 65536:
        raise InfrastructureError(f"{what}: {_short(repr(text))} is no address user@host")
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"ssh://{name}@{host}" + (f":{port}" if port != 22 else "")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A machine that list_command knows; `tags` are what it is labelled with."""

    name: str
    tags: tuple[str, ...] = ()


def read_list(printed: bytes) -> list[Listed]:
    """One name a line, or JSON: a list of names, or of objects with `name` and `tag` or `tags`.

    Raises InfrastructureError: a list that cannot be read is no list of nothing.
    """
    text = printed.decode("utf-8", "replace").strip()
    entries: Sequence[Any]
    if text.startswith("["):
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InfrastructureError(f"list_command: bad JSON: {error}") from error
    else:
        entries = [line.strip() for line in text.splitlines() if line.strip()]
    found = []
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else entry
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InfrastructureError(f"list_command: {_short(repr(entry))} names no machine")
        found.append(Listed(name=name, tags=_tags(entry)))
    return found


def _tags(entry: object) -> tuple[str, ...]:
    if not isinstance(entry, dict):
        return ()
    tags = entry.get("tags", [])
    many = list(tags) if isinstance(tags, list | dict) else [tags]
    values = [*tags.values()] if isinstance(tags, dict) else []
    return tuple(str(tag) for tag in (entry.get("tag"), *many, *values) if tag)
