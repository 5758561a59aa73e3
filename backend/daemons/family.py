"""The master's children: forked, watched and ended."""

import contextlib
import gc
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable

from backend.constants import Exit
from backend.daemons import board, orphans
from backend.daemons.board import Board, State

#: Seconds that a new child has until its first promise.
BOOT = 120.0
#: A child that somebody stopped (SIGSTOP) goes on after so many seconds.
STOPPED = 3.0


class Process:
    """A forked child: what the master needs of `multiprocessing.Process`, without its two
    pipes per child, which every later child would inherit."""

    def __init__(self, pid: int, name: str, cell: int) -> None:
        self.pid, self.name, self.cell = pid, name, cell
        self.born = time.monotonic()
        self.exitcode: int | None = None
        #: It was told to make room; its end is no news.
        self.retiring = False

    def is_alive(self) -> bool:
        """False once it has ended; it is reaped then."""
        if self.exitcode is None:
            self._reap(os.WNOHANG)
        return self.exitcode is None

    def _reap(self, flags: int) -> None:
        try:
            pid, status = os.waitpid(self.pid, flags)
        except ChildProcessError:  # somebody else reaped it: how it ended is unknown
            self.exitcode = Exit.FAILED
            return
        if pid:
            self.exitcode = os.waitstatus_to_exitcode(status)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most `timeout` seconds."""
        if timeout is None:
            if self.exitcode is None:
                self._reap(0)
        elif self.is_alive():
            fd = os.pidfd_open(self.pid)
            try:
                poll = select.poll()
                poll.register(fd, select.POLLIN)
                poll.poll(max(0, int(timeout * 1000)))
            finally:
                os.close(fd)
            self.is_alive()

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when it has ended."""
        if self.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, also while it is stopped."""
        self.signal(signal.SIGKILL)

    @property
    def how(self) -> str:
        """How it ended, in words."""
        code = self.exitcode
        if code is None:
            return "running"
        if code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"


class Family:
    """All children. `in_child` is run first in each, to close what is the master's own."""

    def __init__(self, in_child: Callable[[str], None]) -> None:
        self.board = Board()
        self.members: dict[int, Process] = {}
        self._in_child = in_child
        self._stopped: dict[int, float] = {}

    def start(self, name: str, work: Callable[[], None]) -> Process:
        """Fork a child that does `work` and ends."""
        cell = self.board.take(BOOT)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            try:
                board.attach(self.board, cell)
                self._in_child(name)
                work()
            finally:
                os._exit(Exit.FAILED)
        process = Process(pid, name, cell)
        self.members[pid] = process
        return process

    def forget(self, process: Process) -> tuple[State, str]:
        """It has ended: how far it came, and its last words."""
        process.join()
        self.members.pop(process.pid, None)
        self._stopped.pop(process.pid, None)
        known = self.board.state(process.cell), self.board.last_words(process.cell)
        self.board.give_back(process.cell)
        return known

    def overdue(self, now: float) -> list[Process]:
        """Kill who broke its promise; they are found dead soon after."""
        late = self.board.overdue(now)
        guilty = [member for member in self.members.values() if late and member.cell in late]
        for process in guilty:
            process.kill()
            self.board.promise(process.cell, BOOT, self.board.state(process.cell))
        return guilty

    def note_stops(self, now: float) -> None:
        """After SIGCHLD: remember who was stopped, and who goes on."""
        while (pid := _changed(os.WSTOPPED)) is not None:
            self._stopped.setdefault(pid, now)
        while (pid := _changed(os.WCONTINUED)) is not None:
            self._stopped.pop(pid, None)

    def resume_stopped(self, now: float) -> list[str]:
        """Let those go on who have been stopped for too long; returns who they are."""
        due = [pid for pid, since in self._stopped.items() if now - since >= STOPPED]
        for pid in due:
            del self._stopped[pid]
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return [self.members[pid].name if pid in self.members else f"pid {pid}" for pid in due]

    def reap_orphans(self, also: set[int]) -> None:
        """Reap adopted processes that ended; `also` are children that somebody else awaits."""
        orphans.reap({*self.members, *also})

    def end_orphans(self, also: set[int], timeout: float) -> None:
        """Kill adopted processes."""
        orphans.end({*self.members, *also}, timeout)

    def stop(
        self, processes: Iterable[Process], timeout: float, wait: Callable[[float], bool]
    ) -> None:
        """TERM, patience of `timeout` seconds, KILL, reap. `wait` waits for news at most the
        given seconds; when it returns True, patience is over."""
        left = list(processes)
        for process in left:
            process.terminate()
            process.signal(signal.SIGCONT)
        deadline = time.monotonic() + timeout
        hurry = False
        while alive := [process for process in left if process.is_alive()]:
            if hurry or time.monotonic() >= deadline:
                break
            hurry = wait(max(0.0, min(0.5, deadline - time.monotonic())))
        for process in alive:
            process.kill()
        for process in left:
            self.forget(process)


def shed_garbage() -> None:
    """Just before forking: what lives now is never looked at by a child's collector again."""
    gc.collect()
    gc.freeze()


def _changed(what: int) -> int | None:
    try:
        news = os.waitid(os.P_ALL, 0, what | os.WNOHANG)
    except ChildProcessError:
        return None
    return news.si_pid if news else None
