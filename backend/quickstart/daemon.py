"""The daemon as a child of the quickstart: started, listened to, and stopped."""

import fcntl
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Self

from backend.constants import Exit
from backend.exceptions import CoprBackendError, Stopped
from backend.process import Child

#: A log line of the daemon that is no news while the quickstart tells the same itself.
_ROUTINE = re.compile(r"\S+Z (INFO|DEBUG) ")


class DaemonEnded(CoprBackendError):
    """The daemon ended by itself; carries its own last words and exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = Exit(code) if code in {*Exit} - {Exit.OK} else Exit.FAILED


class SignalPipe:
    """Readable once SIGINT, SIGTERM or SIGHUP came; the handlers themselves do nothing."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old = {
            number: signal.signal(number, _note)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            # nohup and `&` in a script have these ignored, and so it stays
            if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN
        }

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._reader.fileno()

    def close(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._reader.close()
        self._writer.close()


def _note(_number: int, _frame: FrameType | None) -> None:
    """The wakeup descriptor has the news."""


class Daemon:
    """A running daemon; leaving the `with` block stops it within `grace` seconds.

    It reports to a socket in `rundir`, a directory that only we can write to.

    Its output goes to stderr in `wait_end`. Until then only warnings and errors do, and
    nothing before it serves: if it never does, its last line is the reason.
    """

    def __init__(
        self,
        config: Path,
        overrides: Mapping[str, str],
        *,
        rundir: Path,
        grace: float,
        command: tuple[str, ...] = (sys.executable, "-m", "backend.cli"),
    ) -> None:
        options = [part for key, value in overrides.items() for part in ("-o", f"{key}={value}")]
        self._argv = [*command, "-c", str(config), *options]
        self._rundir = rundir
        self._grace = grace
        self._ready = False
        self._words = ""
        self._held = ""
        self._chatty = False
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._signals = SignalPipe()
            stack.callback(self._signals.close)
            address = self._rundir / f"notify.{os.getpid()}"
            address.unlink(missing_ok=True)
            self._notify = stack.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            )
            self._notify.bind(str(address))
            stack.callback(address.unlink, missing_ok=True)
            self._output, writer = os.pipe()
            stack.callback(os.close, self._output)
            fcntl.fcntl(self._output, fcntl.F_SETFL, os.O_NONBLOCK)
            try:
                self._child = stack.enter_context(
                    Child(
                        self._argv,
                        stdout=writer,
                        stderr=writer,
                        env={**os.environ, "NOTIFY_SOCKET": str(address)},
                    )
                )
            finally:
                os.close(writer)
            self._sources = {self._output}
            self._sources |= {s.fileno() for s in (self._signals, self._notify, self._child)}
            stack.callback(self._stop)
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _stop(self) -> None:
        """TERM to the master alone, which stops its own; KILL for all when that takes long."""
        if self._child.poll() is None:
            signal.pidfd_send_signal(self._child.fileno(), signal.SIGTERM)
            self._child.wait(self._grace)
        self._child.kill()
        self._read_output()
        if self._ready:
            self._pass_on()

    def wait_ready(self, limit: float, on_status: Callable[[str], None]) -> None:
        """Block until the daemon serves; `on_status` gets its progress, line by line.

        Raises DaemonEnded, Stopped, or CoprBackendError after `limit` seconds.
        """
        deadline = time.monotonic() + limit
        while not self._ready:
            left = deadline - time.monotonic()
            if left <= 0:
                raise CoprBackendError(f"the daemon did not get ready within {limit:g} s")
            for line in self.wait(left):
                on_status(line)

    def wait_end(self) -> None:
        """Block until a signal (raises Stopped) or the daemon's end (raises DaemonEnded)."""
        self._chatty = True
        while True:
            self.wait(None)

    def wait(self, seconds: float | None) -> list[str]:
        """Wait up to `seconds`, less when something happened; returns new status lines.

        Raises Stopped after a signal, and DaemonEnded when the daemon has ended.
        """
        ready, _, _ = select.select([*self._sources], [], [], seconds)
        status = self._read_status() if self._notify.fileno() in ready else []
        if self._output in ready:
            self._read_output()
        if self._ready:
            self._pass_on()
        if self._child.fileno() in ready:
            self._read_output()
            code = self._child.wait(0) or 0
            said = self._words.strip().splitlines()
            message = said[-1].removeprefix("copr_be.py: ") if said else f"exit code {code}"
            raise DaemonEnded(message if not self._ready else f"daemon ended: {message}", code)
        if self._signals.fileno() in ready:
            raise Stopped("stopped by a signal")
        return status

    def _read_status(self) -> list[str]:
        lines = []
        for line in self._notify.recv(65536).decode("utf-8", "replace").splitlines():
            key, _, value = line.partition("=")
            if key == "READY" and value == "1":
                self._ready = True
            elif key == "STATUS":
                lines.append(value)
        return lines

    def _read_output(self) -> None:
        while True:
            try:
                data = os.read(self._output, 65536)
            except BlockingIOError:
                return
            if not data:
                self._sources.discard(self._output)
                return
            text = data.decode("utf-8", "replace")
            self._words = (self._words + text)[-8192:]
            self._held += text

    def _pass_on(self) -> None:
        """Write what is held, less the routine while the quickstart tells the same."""
        lines = self._held.splitlines(keepends=True)
        self._held = ""
        sys.stderr.write(
            "".join(line for line in lines if self._chatty or not _ROUTINE.match(line))
        )
        sys.stderr.flush()
