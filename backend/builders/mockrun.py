"""How mock is started and ended.

It must be an ordinary user's. For a root daemon it also gets process numbers and mounts of its
own: what it leaves running or mounted then ends with it, whatever signal it gets. Killed alone,
mock leaves rpmbuild, dnf and half a dozen mounts behind.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.builders.mocksite import User
from backend.exceptions import InfrastructureError, ToolError
from backend.process import CLEAN_ENV, Child, Result, find, run
from backend.processid import ProcessId

#: Seconds that mock has to clean up after SIGINT, and that it may take to die.
GRACE = 8.0
#: Directories that a private mount may cover for mock, the first empty one of them.
PLACES = ("/mnt", "/media", "/srv", "/opt")

#: Pid 1 of mock's processes. It stays root: a change of user would clear the signal by which
#: it dies with unshare.
_INIT = 'mount --bind "$1" "$2" && mount -t proc proc /proc && shift 2 && "$@"; exit $?'


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where one mock works: the directory on the host, and how mock itself sees it."""

    path: Path
    seen: Path
    user: User

    @classmethod
    def make(cls, path: Path, user: User) -> "Desk":
        """Of an existing directory that belongs to the daemon."""
        return cls(path=path, seen=place() if os.geteuid() == 0 else path, user=user)

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs mock with arguments `argv`."""
        mock = [find("mock"), *argv]
        if os.geteuid():
            return mock
        private = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        init = ["/bin/sh", "-c", _INIT, "sh", str(self.path), str(self.seen)]
        who = ["--reuid", str(self.user.uid), "--regid", str(self.user.gid), "--init-groups"]
        return [find("unshare"), *private, "--", *init, find("setpriv"), *who, "--", *mock]

    def environment(self) -> Mapping[str, str]:
        """mock's own environment; builds get another one."""
        user = {"USER": self.user.name, "LOGNAME": self.user.name, "HOME": str(self.user.home)}
        return {**CLEAN_ENV, **user, "SHELL": "/bin/sh"}

    def run(self, argv: Sequence[str], timeout: float) -> Result:
        """Run mock to its end; raises ToolError as `process.run` does."""
        return run(self.command(argv), timeout=timeout, env=self.environment(), cwd=Path("/"))


def place() -> Path:
    """Where the private mount goes; raises ToolError if there is no such directory."""
    found = [Path(name) for name in PLACES if Path(name).is_dir()]
    for path in found:
        with contextlib.suppress(OSError):
            if not any(path.iterdir()):
                return path
    if not found:
        raise ToolError("no /mnt, /media, /srv or /opt to mount the build area on: mkdir /mnt")
    return found[0]


class Mock(Child):
    """A running mock: asked to end (SIGINT) it cleans up, killed it does not."""

    def __init__(self, desk: Desk, argv: Sequence[str], output: int) -> None:
        self.hard = False
        # Workers ignore SIGINT, and what they start would too: mock must hear it.
        listening = [find("env"), "--default-signal=INT", "--"]
        command = [*listening, *desk.command(argv)]
        super().__init__(command, stdout=output, env=desk.environment(), cwd=Path("/"))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; of another user's processes (mock as root) none is sent."""
        with contextlib.suppress(PermissionError):
            super().signal(number)

    def kill(self) -> int:
        """SIGINT, some patience, SIGKILL. `hard` tells afterwards that the last was needed."""
        if self.poll() is None:
            self.signal(signal.SIGINT)
            if self.wait(GRACE) is None:
                self.hard = True
                self._insist()
        return super().kill()

    def _insist(self) -> None:
        """Until it is dead: without root, mock can be signaled only while it is not root."""
        deadline = time.monotonic() + GRACE
        while self.poll() is None:
            self.signal(signal.SIGKILL)
            if self.wait(0.2) is None and time.monotonic() > deadline:
                raise InfrastructureError(
                    f"mock (process {self.pid}) cannot be ended: kill -9 {self.pid} as root"
                )


def end_strays(extension: str) -> None:
    """End every mock with this --uniqueext: without root none dies with its worker.

    Raises InfrastructureError if one stays.
    """
    deadline = time.monotonic() + 2 * GRACE
    number = signal.SIGINT
    while strays := _strays(extension):
        for process in strays:
            with contextlib.suppress(PermissionError):
                process.signal(number)
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"a mock of an earlier build still runs: kill -9 {strays[0].pid} as root"
            )
        number = signal.SIGKILL if time.monotonic() > deadline - GRACE else signal.SIGINT
        select.select([], [], [], 0.5)


def _strays(extension: str) -> list[ProcessId]:
    wanted = b"--uniqueext\0" + extension.encode() + b"\0"
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "cmdline").read_bytes():
                    found.append(ProcessId.of(int(entry.name)))
    return [process for process in found if process]
