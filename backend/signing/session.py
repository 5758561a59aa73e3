"""A GNUPGHOME for a moment, and an agent that leaves no process behind.

gpg wants an agent on a socket in its home. A gpg-agent that runs by itself detaches, outlives
whoever is killed, and lets all who sign wait in one queue. So the socket is ours, and each
connection gets a `gpg-agent --server` of its own, which ends with it: it is a child like any
other, killed with its parent. The home holds no secret, only a link to the directory that does.
"""

import contextlib
import os
import select
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from backend.exceptions import ToolError
from backend.process import CLEAN_ENV, Child, Result, find, run

SECRETS = "private-keys-v1.d"
RING = "pubring.kbx"
_SOCKET, _PLACE = "S.gpg-agent", "socket"
_PREFIX = "sign-"
#: Longest address of a unix socket.
_LONGEST = 107
_MOST_OUTPUT = 4 * 1024**2
_GPG_CONF = """\
batch
no-tty
no-autostart
no-auto-key-locate
pinentry-mode loopback
trust-model always
digest-algo SHA256
cert-digest-algo SHA256
"""
# A key is unlocked for each signature: the passphrase is a long random one, hence few rounds.
_AGENT_CONF = "allow-loopback-pinentry\ndisable-scdaemon\ns2k-count 1048576\n"


#: When gpg-agent 2.4 remembers a passphrase it writes a NUL to its standard input, meant for a
#: pipe that it lacks as a server. In a pipe that can only be read, it does no harm.
_RELAY = 'cat | "$@"'


def place(rundir: Path) -> Path:
    """Where homes are: `rundir`, unless its path is too long for a socket."""
    if len(str(rundir / f"{_PREFIX}1234567-12345678" / _SOCKET)) <= _LONGEST:
        return rundir
    other = Path(tempfile.gettempdir()) / f"copr-sign-{os.geteuid()}"
    with contextlib.suppress(FileExistsError):
        other.mkdir(mode=0o700)
    found = other.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ToolError(f"{other} is not this user's alone: remove it, or shorten rundir")
    return other


def sweep(rundir: Path) -> None:
    """Remove the homes that killed processes left."""
    for left in place(rundir).glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
            _remove(left)


def _remove(home: Path) -> None:
    """Remove a home, and the socket that gpg wants elsewhere."""
    with contextlib.suppress(OSError):
        bound = (home / _PLACE).readlink()
        if bound.parent != home and bound.name == _SOCKET:
            bound.unlink(missing_ok=True)
            bound.parent.rmdir()
    shutil.rmtree(home, ignore_errors=True)


class Session:
    """Use it as a context manager; `run` runs gpg and what calls it.

    `keys` is the directory of one key (see `store`); `rundir` holds the home (see `place`).
    """

    def __init__(self, rundir: Path, keys: Path, passphrase_file: Path | str = "") -> None:
        self._rundir, self._keys, self._passphrase = rundir, keys, passphrase_file
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.home = Path()

    def __enter__(self) -> Self:
        try:
            sweep(self._rundir)
            prefix = f"{_PREFIX}{os.getpid()}-"
            self.home = Path(tempfile.mkdtemp(prefix=prefix, dir=place(self._rundir)))
            conf = _GPG_CONF
            if self._passphrase:
                conf += f"passphrase-file {self._passphrase}\n"
            (self.home / "gpg.conf").write_text(conf)
            (self.home / "gpg-agent.conf").write_text(_AGENT_CONF)
            (self.home / SECRETS).symlink_to(self._keys / SECRETS)
            if (self._keys / RING).exists():
                shutil.copyfile(self._keys / RING, self.home / RING)
            self._listen()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        if self.home != Path():
            _remove(self.home)

    def _listen(self) -> None:
        """Bind the socket where gpg looks for it: in /run/user/UID/gnupg if there is a
        /run/user/UID, else in its home."""
        argv = [find("gpgconf"), "--list-dirs", "agent-socket"]
        wanted = Path(unquote(run(argv, timeout=60, env=self._env).stdout.decode().strip()))
        if wanted.name != _SOCKET:
            raise ToolError(f"gpgconf names no socket of the agent, but {str(wanted)[:200]!r}")
        (self.home / _PLACE).symlink_to(wanted)
        wanted.parent.mkdir(mode=0o700, exist_ok=True)
        self._listener.bind(str(wanted))
        self._listener.listen(16)

    @property
    def _env(self) -> Mapping[str, str]:
        home = str(self.home)  # also that of ~/.rpmmacros
        return {**CLEAN_ENV, "GNUPGHOME": home, "HOME": home, "GPG_TTY": ""}

    def run(
        self, argv: Sequence[str], *, timeout: float, into: Sequence[str] | None = None
    ) -> Result:
        """Run a program to its end, and an agent for each connection that it opens.

        With `into`, a second program reads what the first one prints. Raises ToolError if one
        cannot start, or they run longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with contextlib.ExitStack() as stack:
            (out_r, out_w), (err_r, err_w) = os.pipe(), os.pipe()
            for fd in (out_r, err_r):
                stack.callback(os.close, fd)
            try:
                children = self._start(argv, into, out_w, err_w, stack)
            finally:
                os.close(out_w)
                os.close(err_w)
            streams = {out_r: bytearray(), err_r: bytearray()}
            self._serve(streams, deadline, stack)
            codes = [child.wait(deadline - time.monotonic()) for child in children]
            if None in codes:
                name = Path(argv[0]).name
                raise ToolError(f"{name} did not end within {timeout:g} s and was killed")
            code = next((code for code in codes if code), 0)
            return Result(code, bytes(streams[out_r]), bytes(streams[err_r]))

    def _start(
        self,
        argv: Sequence[str],
        into: Sequence[str] | None,
        out: int,
        err: int,
        stack: contextlib.ExitStack,
    ) -> list[Child]:
        env = self._env
        if into is None:
            return [stack.enter_context(Child(argv, stdout=out, stderr=err, env=env))]
        link_r, link_w = os.pipe()
        try:
            first = Child(argv, stdout=link_w, stderr=err, env=env)
            stack.enter_context(first)
            second = Child(into, stdin=link_r, stdout=out, stderr=err, env=env)
            return [first, stack.enter_context(second)]
        finally:
            os.close(link_r)
            os.close(link_w)

    def _serve(
        self, streams: Mapping[int, bytearray], deadline: float, stack: contextlib.ExitStack
    ) -> None:
        """Read what the program prints, until it prints no more, and serve its connections."""
        agents = stack.enter_context(_Agents(self._env, relayed=bool(self._passphrase)))
        waiting = set(streams)
        while waiting:
            left = max(0.0, deadline - time.monotonic())
            sources: list[Any] = [self._listener, *waiting, *agents.running]
            ready, _, _ = select.select(sources, [], [], left)
            if not ready:
                return
            agents.bury()
            for source in ready:
                if source is self._listener:
                    agents.serve(self._listener)
                elif isinstance(source, int):
                    data = os.read(source, 65536)
                    if len(streams[source]) < _MOST_OUTPUT:
                        streams[source].extend(data)
                    if not data:
                        waiting.remove(source)


class _Agents:
    """The agents of one program, one for each of its connections."""

    def __init__(self, env: Mapping[str, str], *, relayed: bool) -> None:
        self._env, self._relayed = env, relayed
        self._agent = find("gpg-agent")
        self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self.running: list[Child] = []

    def serve(self, listener: socket.socket) -> None:
        """Give the next connection its agent."""
        connection, _ = listener.accept()
        with connection:
            fd = connection.fileno()
            argv = [self._agent, "--homedir", self._env["GNUPGHOME"], "--server"]
            if self._relayed:
                argv = [find("sh"), "-c", _RELAY, "sh", *argv]
            agent = Child(argv, stdin=fd, stdout=fd, stderr=self._nowhere, env=self._env)
        self.running.append(agent)

    def bury(self) -> None:
        """Reap those whose connection has ended."""
        for agent in [agent for agent in self.running if agent.poll() is not None]:
            self.running.remove(agent)
            agent.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for agent in self.running:
            agent.close()
        os.close(self._nowhere)
