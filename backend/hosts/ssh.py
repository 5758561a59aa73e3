"""One connection to the agent on a host, through the OpenSSH client.

All workers of this machine share one authenticated connection to a host (ControlMaster), which
keeps itself alive and ends a while after its last user.
"""

import hashlib
import os
import re
import select
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from backend.config import Config
from backend.exceptions import ConfigError, HostError
from backend.hosts.address import Host
from backend.hosts.bundle import GREETING, Bundle, remote_command
from backend.hosts.wire import CHUNK, Frame, Inbox, WireError, pack
from backend.process import Child, find

#: How long the shared connection stays without users, in seconds.
PERSIST = 60
#: What a login script may print before the agent is heard, in bytes.
_NOISE = 256 * 1024
#: Exit code of ssh for a fault of its own; others are those of the command on the host.
_SSH = 255
_PLAIN = re.compile(r"[A-Za-z0-9_.+/-]+")
_WORD = re.compile(re.escape(GREETING) + rb"([ -~]{1,400})\n")

#: What ssh says when trying again is of no use, and the remedy.
_FINAL = {
    "Host key verification failed": "its key is not (or not as) in known_hosts: compare it with"
    " that of the machine, then add it, e.g. with ssh-keyscan",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "its key is another than in known_hosts: find out"
    " why, then replace it there",
    "Permission denied": "add our public key to authorized_keys there, see [hosts] identity",
    "no such identity": "correct [hosts] identity",
    "bad permissions": "chmod 600 that key",
    "Bad configuration option": "correct [hosts] ssh_config",
    "Can't open user config file": "correct [hosts] ssh_config",
}


class Lost(Exception):
    """The connection is gone, or nobody answers on it; another may be made."""


class Listener(Protocol):
    """What may interrupt a wait: a Monitor, or nothing."""

    def wakeup_fd(self) -> int:
        """Readable when `check` has something to look at; -1: never."""

    def check(self) -> None:
        """Raises when the work must end."""


class Nobody:
    """No interruption."""

    def wakeup_fd(self) -> int:
        """Never."""
        return -1

    def check(self) -> None:
        """Nothing to look at."""


def arguments(host: Host, config: Config, *, shared: bool) -> list[str]:
    """The command line of ssh, up to the host's name; no secret is in it."""
    alive = max(1, config.hosts_timeout // 4)
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "ConnectTimeout": str(config.hosts_connect_timeout),
        "ServerAliveInterval": str(alive),
        "ServerAliveCountMax": "3",
        "ControlMaster": "auto" if shared else "no",
        "ControlPath": _quoted(control_path(host, config)) if shared else "none",
        "ControlPersist": str(PERSIST),
    }
    if config.hosts_known_hosts:
        options["UserKnownHostsFile"] = _quoted(config.hosts_known_hosts)
        options["GlobalKnownHostsFile"] = "none"
    argv = [find("ssh"), "-F", str(config.hosts_ssh_config) or "none", "-T", "-a", "-x"]
    for name, value in options.items():
        argv += ["-o", f"{name}={value}"]
    if config.hosts_identity:
        argv += ["-i", str(config.hosts_identity).replace("%", "%%"), "-o", "IdentitiesOnly=yes"]
    return [*argv, "-p", str(host.port), "-l", host.user, "--", host.name]


def control_path(host: Host, config: Config) -> Path:
    """The socket of the shared connection: one for each way to reach a host."""
    files = (config.hosts_identity, config.hosts_known_hosts, config.hosts_ssh_config)
    way = [str(host), *map(str, files)]
    name = hashlib.sha256("\0".join(way).encode()).hexdigest()[:16]
    return config.rundir / "ssh" / name


def _quoted(path: Path | str) -> str:
    return '"' + str(path).replace("%", "%%") + '"'


class Connection:
    """A running agent. Not for use after Lost was raised, but for `close`."""

    def __init__(self, host: Host, config: Config, made: Bundle, *, shared: bool = True) -> None:
        for name, word in (
            ("python", config.hosts_python),
            ("directory", config.hosts_directory or "/"),
        ):
            if not _PLAIN.fullmatch(word):
                raise ConfigError(f"[hosts] {name} = {word}: a plain name or path is needed")
        self._host, self._config, self._bundle = host, config, made
        self._inbox = Inbox()
        self._frames: deque[Frame] = deque()
        self._closed = False
        self.heard = time.monotonic()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        command = remote_command(made, config.hosts_python, config.hosts_directory)
        if shared:
            (config.rundir / "ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._child, self._write, self._read = _started(
            [*arguments(host, config, shared=shared), command], self._errors.fileno()
        )

    def greet(self, listener: Listener, patience: float) -> None:
        """Until the agent is there, and has what it needs. Raises Lost after `patience` seconds,
        or HostError when trying again is of no use."""
        deadline = time.monotonic() + patience
        said = b""
        while True:
            match = _WORD.search(said)
            if match:
                said = said[match.end() :]
                if self._understood(match[1].decode()):
                    self._frames.extend(self._fed(said))
                    return
                continue
            if len(said) > _NOISE:
                raise HostError(f"host {self._host}: not the agent, but {said[:80]!a} is heard")
            if time.monotonic() > deadline:
                raise Lost("it does not answer")
            said += self._more(listener, min(1.0, deadline - time.monotonic()))

    def _understood(self, word: str) -> bool:
        """True when the agent is ready."""
        what, _, rest = word.partition(" ")
        if what == "send":
            self._put(self._bundle.data)
        elif what == "python":
            raise HostError(
                f"host {self._host}: {self._config.hosts_python} is Python {rest}: install 3.11"
                " or newer there, and name it in [hosts] python"
            )
        elif what == "trouble":
            raise HostError(
                f"host {self._host}: the agent cannot start: {rest}: see [hosts] directory"
            )
        return what == "ready"

    def send(self, kind: str, data: bytes = b"", **fields: Any) -> None:
        """One frame to the agent; raises Lost if nothing moves any more."""
        self._put(pack(kind, data, **fields))

    def next(self, listener: Listener, timeout: float) -> Frame | None:
        """A frame, or None if none has come after about `timeout` seconds; raises Lost, and what
        `check` does."""
        if not self._frames:
            self._frames.extend(self._fed(self._more(listener, timeout)))
        return self._frames.popleft() if self._frames else None

    def close(self, patience: float = 0.0) -> None:
        """End it; what runs on the host finds that out by itself. What was sent last arrives, if
        it can within `patience` seconds."""
        if self._closed:
            return
        self._closed = True
        os.close(self._write)
        self._child.wait(patience)
        self._child.close()
        os.close(self._read)
        self._errors.close()

    # --- bytes ----------------------------------------------------------------------------

    def _fed(self, data: bytes) -> list[Frame]:
        try:
            return list(self._inbox.feed(data))
        except WireError as error:
            raise HostError(f"host {self._host}: it answers nonsense: {error}") from error

    def _more(self, listener: Listener, timeout: float) -> bytes:
        wakeup = listener.wakeup_fd()
        watched = [self._read, *([wakeup] if wakeup >= 0 else [])]
        ready = select.select(watched, [], [], max(0.0, timeout))[0]
        listener.check()
        if self._read not in ready:
            return b""
        data = os.read(self._read, CHUNK)
        if not data:
            raise self._why()
        self.heard = time.monotonic()
        return data

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            ready = select.select([], [self._write], [], self._config.hosts_timeout)[1]
            if not ready:
                raise Lost("it takes no more data")
            try:
                rest = rest[os.write(self._write, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._why() from None

    def _why(self) -> Exception:
        """What ssh says of the end."""
        code = self._child.wait(5.0)
        self._errors.seek(0)
        lines = self._errors.read(65536).decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        for line in said:
            for sign, remedy in _FINAL.items():
                if sign in line:
                    return HostError(f"host {self._host}: {line}: {remedy}")
        last = said[-1] if said else "the connection was closed"
        if code in (126, 127):
            return HostError(
                f"host {self._host}: {last}: install Python 3.11 or newer there, or name it in"
                " [hosts] python"
            )
        if code not in (None, _SSH) and code >= 0:  # what is said last may be a banner
            return Lost(f"what was started there ended with exit code {code}: {last}")
        return Lost(last)


def _started(argv: Sequence[str], errors: int) -> tuple[Child, int, int]:
    """ssh with a pipe at each end: the child, where to write, where to read."""
    child_in, write = os.pipe()
    read, child_out = os.pipe()
    try:
        child = Child(argv, stdin=child_in, stdout=child_out, stderr=errors)
    except BaseException:
        os.close(write)
        os.close(read)
        raise
    finally:
        os.close(child_in)
        os.close(child_out)
    os.set_blocking(write, False)
    return child, write, read
