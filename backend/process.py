"""The only door to other programs.

Every program gets an argument list (never a shell), a session of its own, a parent-death
signal, and a limit on how long anybody waits for it. Nothing here knows what a build is.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from backend.exceptions import ToolError, ToolExceeded

#: Environment of programs that get none: nothing of the daemon's own leaks into them.
CLEAN_ENV: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}

#: Program → the packages that bring it (Debian; Fedora), for messages with a remedy.
PACKAGES: Mapping[str, tuple[str, str]] = {
    "bwrap": ("bubblewrap", "bubblewrap"),
    "cpio": ("cpio", "cpio"),
    "debootstrap": ("debootstrap", "debootstrap"),
    "dnf": ("dnf", "dnf"),
    "createrepo_c": ("createrepo-c", "createrepo_c"),
    "gpg": ("gpg", "gnupg2"),
    "gpg-agent": ("gpg-agent", "gnupg2"),
    "gpgconf": ("gpgconf", "gnupg2"),
    "mount": ("mount", "util-linux"),
    "prlimit": ("util-linux", "util-linux"),
    "redis-server": ("redis-server", "valkey-compat-redis"),
    "rpm": ("rpm", "rpm"),
    "rpm2cpio": ("rpm2cpio", "rpm"),
    "rpmbuild": ("rpm", "rpm-build"),
    "rpmsign": ("rpm", "rpm-sign"),
    "setpriv": ("util-linux", "util-linux"),
    "sqliterepo_c": ("createrepo-c", "createrepo_c"),
    "ssh": ("openssh-client", "openssh-clients"),
    "unshare": ("util-linux", "util-linux"),
}


@dataclass(frozen=True)
class Result:
    """How a program ended: exit code (negative: the signal), and what it printed."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def last_line(self) -> str:
        """The last line of stderr, or else of stdout: what to show when it failed."""
        text = (self.stderr.strip() or self.stdout.strip()).decode("utf-8", "replace")
        return text.splitlines()[-1].strip() if text else f"exit code {self.code}"


def find(program: str) -> str:
    """Absolute path of `program`; raises ToolError that names the package to install."""
    return find_all([program])[program]


def find_all(programs: Sequence[str]) -> dict[str, str]:
    """Program → absolute path; raises one ToolError that names all that are missing."""
    found = {name: shutil.which(name, path=CLEAN_ENV["PATH"]) for name in programs}
    missing = [name for name, path in found.items() if not path]
    if missing:
        packages = [PACKAGES.get(name, (name, name)) for name in missing]
        debian, fedora = (" ".join(dict.fromkeys(names)) for names in zip(*packages, strict=True))
        raise ToolError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed:"
            f" apt-get install {debian} (Debian) or dnf install {fedora} (Fedora)"
        )
    return {name: path for name, path in found.items() if path}


#: A signal for the parent's death comes too late when it is dead already; $0 is its number.
_WITNESS = '[ "$PPID" = "$0" ] && exec "$@"'


class Child:
    """A running program, in a session of its own; dies with the process that started it.

    `lasting`: it would never end by itself, so it is not even started when that process was
    killed meanwhile.

    `fileno()` becomes readable when it has ended, so that it fits into a `select` loop.
    Use it as a context manager: leaving the block kills what still runs.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.STDOUT,
        env: Mapping[str, str] = CLEAN_ENV,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        lasting: bool = False,
    ) -> None:
        # setpriv sets the signal after any change of credentials, which would clear it.
        guard = [find("setpriv"), "--pdeathsig", "KILL", "--"]
        if lasting:
            guard += [find("sh"), "-c", _WITNESS, str(os.getpid())]
        try:
            self._popen = subprocess.Popen(
                [*guard, *argv],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=dict(env),
                cwd=cwd,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(f"cannot start {argv[0]}: {error.strerror}") from error
        self.pid = self._popen.pid
        self._pidfd = os.pidfd_open(self.pid)

    def fileno(self) -> int:
        """A descriptor that is readable once the program has ended."""
        return self._pidfd

    def poll(self) -> int | None:
        """Exit code, or None while it runs. Never blocks.

        It stays unreaped until it is killed or closed: so its number, which is also that of
        its process group, cannot pass to a stranger while we may still send signals to it.
        """
        if self._popen.returncode is not None:
            return self._popen.returncode
        ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def wait(self, timeout: float) -> int | None:
        """Exit code, or None if it still runs after `timeout` seconds."""
        if self.poll() is None:
            select.select([self._pidfd], [], [], max(0.0, timeout))
        return self.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to what is left of the program's process group."""
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def stop(self, grace: float) -> int:
        """TERM, up to `grace` seconds of patience, KILL; returns the exit code."""
        self.signal(signal.SIGTERM)
        self.wait(grace)
        return self.kill()

    def kill(self) -> int:
        """KILL the whole group, also what a program that ended left in it, and reap it."""
        self.signal(signal.SIGKILL)
        return self._popen.wait()

    def leave(self) -> int:
        """Reap it once it has ended by itself; what it has left running goes on."""
        return self._popen.wait()

    def close(self) -> None:
        """Kill what still runs and release the descriptors."""
        self.kill()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] = CLEAN_ENV,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    limit: int = 16 * 1024**2,
) -> Result:
    """Run a program to its end and return its output.

    Raises ToolError if it cannot start, ToolExceeded if it runs longer than `timeout` seconds
    or prints more than `limit` bytes. A non-zero exit code is the caller's to judge.
    """
    name = Path(argv[0]).name
    deadline = time.monotonic() + timeout
    out_r, out_w = os.pipe()
    err_r, err_w = os.pipe()
    streams: dict[int, bytearray] = {out_r: bytearray(), err_r: bytearray()}
    try:
        try:
            child = Child(argv, stdout=out_w, stderr=err_w, env=env, cwd=cwd, pass_fds=pass_fds)
        finally:
            os.close(out_w)
            os.close(err_w)
        with child:
            code = _read_to_end(child, streams, deadline, limit)
            if code is None:
                raise ToolExceeded(f"{name} did not end within {timeout:g} s and was killed")
            if sum(map(len, streams.values())) > limit:
                raise ToolExceeded(f"{name} printed more than {limit} bytes and was killed")
    finally:
        os.close(out_r)
        os.close(err_r)
    return Result(code, bytes(streams[out_r]), bytes(streams[err_r]))


def run_apart(
    argv: Sequence[str], *, timeout: float, env: Mapping[str, str] = CLEAN_ENV, limit: int
) -> Result:
    """`run` for a program that may leave others running, which may even hold its output open:
    it is over when it ends itself, and only on a fault its process group is killed."""
    name = Path(argv[0]).name if argv else "?"
    deadline = time.monotonic() + timeout
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
    streams = {reader: bytearray() for reader, _ in pipes}
    try:
        try:
            child = Child(argv, stdout=pipes[0][1], stderr=pipes[1][1], env=env)
        finally:
            for _, writer in pipes:
                os.close(writer)
        with child:
            _read_until_ended(child, streams, deadline, limit)
            if sum(map(len, streams.values())) > limit:
                raise ToolError(f"{name} printed more than {limit} bytes and was killed")
            if child.poll() is None:
                raise ToolError(f"{name} did not end within {timeout:g} s and was killed")
            code = child.leave()
    finally:
        for reader, _ in pipes:
            os.close(reader)
    out, err = streams.values()
    return Result(code, bytes(out), bytes(err))


def _read_until_ended(
    child: Child, streams: Mapping[int, bytearray], deadline: float, limit: int
) -> None:
    waiting = set(streams)
    for fd in waiting:
        os.set_blocking(fd, False)
    ended = False
    while sum(map(len, streams.values())) <= limit:
        left = 0.0 if ended else max(0.0, deadline - time.monotonic())
        ends = [*waiting, *([] if ended else [child.fileno()])]
        ready, _, _ = select.select(ends, [], [], left)
        if not ready:
            return
        ended = ended or child.fileno() in ready
        for fd in waiting & set(ready):
            data = os.read(fd, 65536)
            streams[fd].extend(data)
            if not data:
                waiting.remove(fd)


def _read_to_end(
    child: Child, streams: Mapping[int, bytearray], deadline: float, limit: int
) -> int | None:
    """Fill `streams`; the exit code, or None at the deadline. Past `limit` it stops early (-1)."""
    waiting = set(streams)
    while waiting:
        ready, _, _ = select.select([*waiting], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        for fd in ready:
            data = os.read(fd, 65536)
            streams[fd].extend(data)
            if not data:
                waiting.remove(fd)
        if sum(map(len, streams.values())) > limit:
            return -1
    return child.wait(deadline - time.monotonic())
