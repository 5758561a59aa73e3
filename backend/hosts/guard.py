"""One build on a host, detached from the connection that asked for it.

A guard and its child, the builder. The guard never builds: it sees to it that the build ends
when it is canceled, or when nobody has asked for it any longer, and that all is removed then.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
import traceback
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from backend import disk
from backend.builders import LOGS, Artifact, Builder, BuildRequest, stream
from backend.exceptions import Canceled, CoprBackendError, InfrastructureError, Stopped
from backend.hosts.runs import CANCEL, DONE, SPARE, Run
from backend.hosts.wire import to_json

#: How long a builder may take to end after it was told, in seconds; then it is killed.
GRACE = 30.0
#: How often the guard looks whether somebody still wants the build, in seconds.
LOOK = 1.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is built, with what, and how long nobody may ask for it, in seconds."""

    run: Run
    request: BuildRequest
    builder: Builder
    lease: float


def start(order: Order, lock: int) -> None:
    """Begin the build, in processes that outlive the caller; `lock` passes to them."""
    pid = os.fork()
    if pid == 0:
        _in_child(lambda: _detach(order, lock))
    os.waitpid(pid, 0)


def _in_child(work: Any) -> NoReturn:
    """The end of a fork: no exception passes, no handler of the parent runs."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001  (outermost frame of a process: said, and ended)
        traceback.print_exc()
    finally:
        os._exit(code)


def _detach(order: Order, lock: int) -> None:
    os.setsid()
    if os.fork():  # the caller waits for us: the guard itself belongs to init
        return
    errors = os.open(order.run.path / "trouble", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number, fd in enumerate((null, null, errors)):
        os.dup2(fd, number)
    os.closerange(3, lock)
    os.closerange(lock + 1, 4096)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Guard(order).run()


class Guard:
    """Lives until the build is over and fetched, or nobody wants it."""

    def __init__(self, order: Order) -> None:
        self._order, self._run = order, order.run
        self._control = order.run.fifo("control")
        self._renewed, self._heard = order.run.renewed(), time.monotonic()

    def run(self) -> None:
        """From the first fork to the last file."""
        stop, word = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _in_child(lambda: _Build(self._order, stop, parent).run())
        os.close(stop)
        wanted = self._watch(pid, word)
        if not (self._run.path / "outcome.json").exists():
            text = "the builder was killed on its host, or ended by a fault of its own"
            _leave(self._run, {"error": "Killed", "text": f"{text}{self._last_words()}"})
        self._run.tell("wake", b"x")
        while wanted and self._wanted():
            wanted = self._wait([]) != DONE
        try:
            self._run.remove(self._order.builder, self._order.request.slot)
        except (CoprBackendError, OSError) as error:
            print(f"could not be removed: {error}", file=sys.stderr, flush=True)

    def _watch(self, pid: int, word: int) -> bool:
        """Until the builder has ended; whether somebody still wants what it made."""
        child = os.pidfd_open(pid)
        wanted, deadline = True, 0.0
        while not select.select([child], [], [], 0)[0]:
            heard = self._wait([child])
            if not self._wanted():
                heard = DONE
            if heard and not deadline:
                deadline = time.monotonic() + GRACE
                with contextlib.suppress(BrokenPipeError):  # it is just ending
                    os.write(word, heard)
            wanted = wanted and heard != DONE
            if deadline and time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(child)
        return wanted

    def _wait(self, more: list[int]) -> bytes:
        """Up to LOOK seconds; the strongest word that came."""
        ready = select.select([self._control, *more], [], [], LOOK)[0]
        if self._control not in ready:
            return b""
        heard = os.read(self._control, 4096)
        return DONE if DONE in heard else heard[:1]

    def _wanted(self) -> bool:
        renewed, now = self._run.renewed(), time.monotonic()
        if renewed != self._renewed:
            self._renewed, self._heard = renewed, now
        # Without its files (somebody has emptied the directory) it is lost to everybody.
        return bool(renewed) and now - self._heard < self._order.lease

    def _last_words(self) -> str:
        lines = (self._run.path / "trouble").read_text(errors="replace").splitlines()
        return f": {lines[-1]}" if lines else ""


class _Build:
    """The builder's process, and its Monitor."""

    def __init__(self, order: Order, stop: int, guard: int) -> None:
        self._order, self._run, self._stop = order, order.run, stop
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            raise SystemExit("the guard is gone")
        os.set_blocking(stop, False)
        self._heard = b""
        self._log = os.open(self._run.path / "log", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._wake = self._run.fifo("wake")

    def run(self) -> None:
        """Build, and leave the outcome."""
        run, order = self._run, self._order
        request = replace(order.request, srpm=run.source, workdir=run.work)
        before = disk.free(run.work)
        try:
            outcome = _good(order.builder.build(request, self))
        except CoprBackendError as error:
            error = self._whose_disk(error, before)
            outcome = {"error": type(error).__name__, "text": str(error)}
        except Exception as error:  # noqa: BLE001  (anybody's class: the worker shall know)
            traceback.print_exc()
            said = f"{type(error).__name__}: {error}"
            outcome = {"error": "ToolError", "text": f"the builder failed on its host: {said}"}
        _leave(run, {**outcome, "logs": _logs(run)})

    def _whose_disk(self, error: CoprBackendError, before: int) -> CoprBackendError:
        """A disk without room for the log is the fault of who has filled it, as any other."""
        try:
            if isinstance(error, InfrastructureError) and disk.low(self._run.work):
                stream.blame(replace(self._order.request, workdir=self._run.work), before)
        except CoprBackendError as better:
            return better
        return error

    def output(self, data: bytes) -> None:
        """Append to the log."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._log, rest) :]
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"x")

    def wakeup_fd(self) -> int:
        """Readable when the guard has said a word."""
        return self._stop

    def check(self) -> None:
        """Raises Canceled or Stopped after such a word, each time."""
        with contextlib.suppress(BlockingIOError):
            self._heard += os.read(self._stop, 16)
        if CANCEL in self._heard:
            raise Canceled("canceled on request")
        if self._heard:
            raise Stopped("nobody asks for the build any more")


def _good(artifacts: tuple[Artifact, ...]) -> dict[str, Any]:
    return {
        "artifacts": [
            {
                "path": str(artifact.path),
                "size": artifact.path.stat().st_size,
                "package": to_json(artifact.package),
            }
            for artifact in artifacts
        ]
    }


def _logs(run: Run) -> list[dict[str, Any]]:
    """Those that the builder keeps itself, beside what it printed; see `Builder.build`."""
    return [
        {"path": str(path), "name": path.name, "size": path.stat().st_size}
        for path in sorted((run.work / LOGS).glob("*.log"))
    ]


def _leave(run: Run, outcome: dict[str, Any]) -> None:
    new = run.path / "outcome.new"
    try:
        new.write_text(json.dumps(outcome))
    except OSError as error:  # the disk is full: there is room for a few words
        text = json.dumps({name: value for name, value in outcome.items() if name != "logs"})
        if "error" not in outcome or len(text) > SPARE:
            why = f"no room for the results in {run.path}: {error.strerror}"
            text = json.dumps({"error": "InfrastructureError", "text": why})
        new = run.path / "spare"
        with new.open("r+") as file:
            file.write(text)
            file.truncate()
    new.rename(run.path / "outcome.json")
