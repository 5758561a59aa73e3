"""Watches one running build: its output, its limits, and its owner's wish to end it."""

import math
import os
import re
import select
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from backend import disk
from backend.builders import Monitor
from backend.builders.limits import Watch
from backend.builders.sandbox import Area, Command
from backend.config import Config
from backend.exceptions import BuildError, CoprBackendError, InfrastructureError, Killed
from backend.process import Child

CHECK_EVERY = 2.0
DRAIN = 5.0
#: Programs print a line at a time: what trickles in is taken in sips, one each so many seconds.
#: Whoever prints faster than the pipe holds does not wait for us.
_SIP = 0.005
_TRICKLE = 16384
_KEEP = 65536
#: Who has fewer is not to blame when no more can be made.
_MANY_FILES = 2000
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\].*?(?:\x07|\x1b\\)|[\x00-\x1f\x7f-\x9f]")
_VERDICT = re.compile(r"error: Bad exit status from ")
#: What shells, xargs, make and gcc say of a child that got SIGKILL; make adds a line or two.
_KILLED = re.compile(
    r"(^|: *\d* *|\] *|\d +)Killed($|  )|terminated by signal 9$|Killed signal terminated program"
)


class Watcher(Protocol):
    """Judges what the build uses beside time and log: `limits.Watch` does."""

    def check(self) -> None:
        """While it runs. Raises BuildError that names the limit."""

    def final(self) -> None:
        """When it has ended."""

    def hidden(self) -> int:
        """Bytes that may be the build's though nobody finds them below its directory."""


class Limits(Protocol):
    """What may be used up; a BuildRequest has all of it. Times are seconds."""

    @property
    def workdir(self) -> Path:
        """On the file system that must not fill up."""

    @property
    def timeout(self) -> int:
        """Longest time in all."""

    @property
    def stall_timeout(self) -> int:
        """Longest time without output."""

    @property
    def max_log(self) -> int:
        """Most bytes of output."""


@dataclass
class Log:
    """Passes output on, and remembers its beginning and its end."""

    monitor: Monitor
    limit: int
    size: int = 0
    head: bytes = b""
    tail: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> None:
        """Append; what exceeds the limit is dropped, and `full` becomes true."""
        data = data[: max(0, self.limit - self.size + 1)]
        if data:
            self.size += len(data)
            self.head = (
                (self.head + data[: 256 - len(self.head)]) if len(self.head) < 256 else self.head
            )
            self.tail += data
            if len(self.tail) > 2 * _KEEP:  # not each time: that would copy all of it
                del self.tail[:-_KEEP]
            self.monitor.output(data)

    @property
    def full(self) -> bool:
        """More was printed than allowed."""
        return self.size > self.limit


def follow(child: Child, pipe: int, log: Log, request: Limits, watch: Watcher | None = None) -> int:
    """Stream the output until the build ends; returns its exit code.

    Raises BuildError that names the limit, InfrastructureError when it ended while others had
    filled the disk, or what `monitor.check` raises; in every case all processes of the build
    are dead then, and the log has the last byte they wrote.
    """
    before = disk.free(request.workdir)
    try:
        tight = _loop(child, pipe, log, request, watch, before=before)
        child.kill()
        _drain(pipe, log)
        _check_log(log, request)
        if watch:
            watch.final()
    except BuildError as error:
        child.kill()
        log.limit += 2 * _KEEP
        _drain(pipe, log)
        log.write(f"\n{error}\n".encode())
        raise
    finally:
        code = child.kill()
        _drain(pipe, log)
    # Also of a success: rpmbuild does not notice that its scripts were cut short.
    if tight is not None or disk.low(request.workdir):
        blame(request, before, tight or 0)
    return code


def supervise(config: Config, area: Area, command: Command, log: Log, most: Limits) -> int:
    """Start a command and follow it to its end, within all limits; returns its exit code."""
    pipe, write = os.pipe()
    try:
        try:
            child = command.start(write)
        finally:
            os.close(write)
        with child, Watch(config, area.path, child.pid, command.group) as watch:
            return follow(child, pipe, log, most, watch)
    finally:
        os.close(pipe)


def _loop(
    child: Child, pipe: int, log: Log, request: Limits, watch: Watcher | None, *, before: int
) -> int | None:
    """None, or if the disk was nearly full at any time, what the build may have hidden then."""
    tight: int | None = None
    start = last = time.monotonic()
    wakeup = log.monitor.wakeup_fd()
    checked = start
    rest = 0.0  # until then the pipe fills up
    while True:
        now = time.monotonic()
        until = min(start + request.timeout, last + request.stall_timeout, checked + CHECK_EVERY)
        awaited = [child.fileno(), wakeup]
        if now < rest:
            until = min(until, rest)
        else:
            awaited.append(pipe)
        ready, _, _ = select.select(awaited, [], [], max(0.0, until - now))
        now = time.monotonic()
        if wakeup in ready or now - checked >= CHECK_EVERY:
            checked = now
            log.monitor.check()
            if watch:
                watch.check()
            if disk.low(request.workdir):
                blame(request, before, watch.hidden() if watch else 0)
        if pipe in ready:
            data = os.read(pipe, _KEEP)
            log.write(data)
            last = now if data else last
            rest = (now + _SIP if len(data) < _TRICKLE else 0.0) if data else math.inf
            if disk.low(request.workdir):
                tight = max(tight or 0, watch.hidden() if watch else 0)
        if child.fileno() in ready:
            return tight
        _check_limits(log, request, now - start, now - last)


def _check_log(log: Log, request: Limits) -> None:
    if log.full:
        raise BuildError(f"build ended: log larger than {request.max_log} bytes (max_log)")


def _check_limits(log: Log, request: Limits, total: float, silent: float) -> None:
    _check_log(log, request)
    if total >= request.timeout:
        raise BuildError(f"build ended: it took longer than {request.timeout} s (timeout)")
    if silent >= request.stall_timeout:
        raise BuildError(f"build ended: no output for {request.stall_timeout} s (stall_timeout)")


def blame(request: Limits, before: int, hidden: int = 0) -> None:
    """The disk is nearly full: raises BuildError if that is the build's doing, InfrastructureError
    if it is not. `before`: bytes that were free when the build began; `hidden`: bytes of it that
    are not below its work directory."""
    where = request.workdir
    lost = before - disk.free(where)
    if error := guilt(max(hidden, disk.usage(where)), lost, disk.reserve(where), where):
        raise error
    if disk.low_files(where) and disk.count(where) >= _MANY_FILES:
        raise BuildError("build ended: it filled the disk with files, hardly one more can be made")
    raise InfrastructureError(
        f"the disk of {where} is nearly full, not by this build: free space there"
    )


def guilt(own: int, lost: int, reserve: int, where: object) -> CoprBackendError | None:
    """What a build has to do with a disk that is nearly full, of which it has taken `own` bytes
    and all together `lost` since it began; None if it has taken less than the reserve.

    A large build beside one that fills the disk is tried again. Not for ever: several that fill it
    together have a small share each.
    """
    if own < reserve:
        return None
    if lost > 2 * own:
        return Killed(f"the disk of {where} is nearly full, mostly by others: free space there")
    return BuildError(
        f"build ended: it filled the disk, less than {reserve // 1024**2} MiB are free"
    )


def _drain(pipe: int, log: Log) -> None:
    """Read to the end, which comes within milliseconds of the kill; never wait for long."""
    deadline = time.monotonic() + DRAIN
    while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(pipe, _KEEP)
        if not data:
            return
        log.write(data)


def killed_inside(tail: bytes) -> bool:
    """The last that a failed build's log says before rpmbuild's verdict is that one of its
    processes was killed (SIGKILL): by somebody outside, or because the machine lacked memory."""
    lines = tail.decode("utf-8", "replace").splitlines()
    verdicts = [number for number, line in enumerate(lines) if _VERDICT.match(line)]
    before = lines[max(0, verdicts[-1] - 3) : verdicts[-1]] if verdicts else []
    return any(_KILLED.search(line) for line in before)


#: What rpm 4.20 says after the reason.
_EMPTY_WORDS = "parsing failed"


def decisive_line(tail: bytes) -> str:
    """The one line of a failed build's log that says why."""
    lines = [plain(line) for line in tail.decode("utf-8", "replace").split("\n")]
    marks = [i for i, line in enumerate(lines) if line.strip() == "RPM build errors:"]
    if marks:
        errors = lines[marks[-1] + 1 :]
        for line in reversed(errors):
            words = line.strip()
            if line.startswith("    ") and words[:1] not in ("", "/") and words != _EMPTY_WORDS:
                files = [one.strip() for one in errors[errors.index(line) + 1 :]]
                return " ".join([words, *(f for f in files[:3] if f not in ("", _EMPTY_WORDS))])
    for line in reversed(lines):
        words = line.removeprefix("error: ").strip()
        if line.startswith("error: ") and words != _EMPTY_WORDS:
            return words
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output at all")


def plain(text: str) -> str:
    """Words of a build without what a terminal would obey."""
    return _CONTROL.sub("", text)
