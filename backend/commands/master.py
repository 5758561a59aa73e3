"""The running daemon as its commands see it: found by the pid file, told by signals."""

import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from backend.config import Config
from backend.constants import Exit
from backend.exceptions import CoprBackendError
from backend.locks import PidFile
from backend.processid import ProcessId


class NotRunning(CoprBackendError):
    """There is no daemon to talk to."""

    exit_code = Exit.NOT_RUNNING


@dataclass(frozen=True)
class Master:
    """The master of a configuration, while it runs."""

    process: ProcessId
    pidfile: PidFile

    @classmethod
    def find(cls, config: Config, pidfile: Path | None = None) -> "Master | None":
        """Who runs with this configuration (or this pid file); None if nobody does."""
        file = PidFile(pidfile or config.rundir / "copr-be.pid")
        process = file.holder()
        return cls(process, file) if process else None

    @classmethod
    def get(cls, config: Config, pidfile: Path | None = None) -> "Master":
        """The same, but raises NotRunning."""
        master = cls.find(config, pidfile)
        if master is None:
            path = pidfile or config.rundir / "copr-be.pid"
            raise NotRunning(
                f"copr-backend does not run with {config.path} (nobody holds the pid file {path})"
            )
        return master

    @property
    def since(self) -> float:
        """When it was started, in seconds since the epoch."""
        ago = time.clock_gettime(time.CLOCK_BOOTTIME) - self.process.start / os.sysconf(
            "SC_CLK_TCK"
        )
        return time.time() - ago

    @property
    def phase(self) -> str:
        """starting, serving or stopping, as its title says; suspended while the kernel does not
        let it run (SIGSTOP, a debugger); unknown if that cannot be read."""
        if self.process.state in ("T", "t"):
            return "suspended"
        try:
            title = Path(f"/proc/{self.process.pid}/cmdline").read_bytes()
        except OSError:
            return "unknown"
        word = title.removeprefix(b"copr-be: master ").split(b" ")[0].decode("ascii", "replace")
        return word if word in ("starting", "serving", "stopping") else "unknown"

    def signal(self, number: "signal.Signals | int") -> None:
        """Signal it, and only it: the lock is held by a process that has the file open."""
        if not self.pidfile.held_by(self.process):
            if not self.process.alive:
                raise NotRunning(f"copr-backend (pid {self.process.pid}) has just ended")
            raise CoprBackendError(
                f"the pid file {self.pidfile.path} names process {self.process.pid}, which does not"
                " hold it: somebody else wrote that number; nothing was signalled"
            )
        try:
            if not self.process.signal(cast(signal.Signals, number)):
                raise NotRunning(f"copr-backend (pid {self.process.pid}) has just ended")
        except PermissionError:
            raise CoprBackendError(
                f"the daemon (pid {self.process.pid}) belongs to another user:"
                " run this as root or as that user"
            ) from None

    def left_its_number(self) -> bool:
        """True when its pid file still names it, as after a crash."""
        try:
            return self.pidfile.path.read_text().strip() == str(self.process.pid)
        except OSError:
            return False

    def wait_end(self, seconds: float) -> bool:
        """True as soon as it has ended; False if it still runs after that time."""
        try:
            fd = os.pidfd_open(self.process.pid)
        except ProcessLookupError:
            return True
        try:
            return not self.process.alive or bool(select.select([fd], [], [], seconds)[0])
        finally:
            os.close(fd)
