"""Runs a script of ours over foreign sources in the sandbox: clones, spec files, make targets.

What comes out is taken as results of a build are: plain files, under harmless names.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.builders import Monitor, collect, tidy
from backend.builders.sandbox import Area, Sandbox, strictest
from backend.builders.stream import Log, decisive_line, supervise
from backend.config import Config
from backend.exceptions import BuildError, InfrastructureError, ToolError

#: Where a script finds its inputs and leaves its results.
INPUTS = "/in"
RESULTS = "/builddir/results"
_STARTED = b"Sources, "
_WRAP = 'echo "Sources, $1 ($2)"; shift 2; exec 2>&1; '


@dataclass(frozen=True, kw_only=True)
class Room:
    """Where the scripts of one task run, one after the other, on the same files.

    `workdir` is fresh and private (0700), as for a build. All must be done at `deadline`, in
    seconds of the monotonic clock.
    """

    config: Config
    workdir: Path
    slot: int
    deadline: float
    monitor: Monitor

    @property
    def timeout(self) -> int:
        """Seconds that are left."""
        return max(1, int(self.deadline - time.monotonic()))

    @property
    def stall_timeout(self) -> int:
        """Longest time without output, in seconds."""
        return self.config.builder_stall_timeout

    @property
    def max_log(self) -> int:
        """Most bytes of output of one script."""
        return self.config.builder_max_log

    def check(self) -> None:
        """For steps of our own: raises as the monitor does, or BuildError at the deadline."""
        self.monitor.check()
        if time.monotonic() > self.deadline:
            raise BuildError("the sources were not ready in time (timeout)")

    def area(self) -> Area:
        """The directory of the scripts on the host."""
        return Area.make(self.config, self.workdir, self.slot)

    def inputs(self) -> Path:
        """A directory of ours that scripts read as /in; what is put there needs mode 644."""
        path = self.area().path / "in"
        path.mkdir(mode=0o755, exist_ok=True)
        path.chmod(0o755)
        return path


@dataclass(frozen=True, kw_only=True)
class Script:
    """`text` is for /bin/sh and gets `args`; it starts in the home directory."""

    what: str
    text: str
    args: Sequence[str] = ()
    net: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a script ended: its exit code, and the line of its output that says why."""

    code: int
    line: str


def run(room: Room, script: Script) -> Outcome:
    """Run it to its end. Its output goes to the live log.

    Raises BuildError when a limit is exceeded, and what the monitor raises.
    """
    try:
        return _run(room, script)
    except (OSError, ToolError) as error:
        raise InfrastructureError(f"sources: {error}") from error


def _run(room: Room, script: Script) -> Outcome:
    sandbox = Sandbox(room.config)
    if not strictest:  # nobody has tried it in this process
        with tempfile.TemporaryDirectory(dir=room.workdir) as trial:
            sandbox.preflight(Path(trial))
    area = room.area()
    room.inputs()
    binds = ["--bind", "{}/results", RESULTS, "--ro-bind", "{}/in", INPUTS]
    log = Log(room.monitor, room.max_log)
    words = "with network" if script.net else "without network"
    argv = ["/bin/sh", "-c", _WRAP + script.text, "sh", script.what, words, *script.args]
    with sandbox.command(area, argv, binds=binds, net=script.net) as command:
        code = supervise(room.config, area, command, log, _Limits(room))
    if not log.head.startswith(_STARTED):
        words = bytes(log.tail).decode("utf-8", "replace").strip()[-300:]
        raise InfrastructureError(f"the sandbox did not start: {words or 'no output'}")
    return Outcome(code=code, line=decisive_line(bytes(log.tail)))


class _Limits:
    """What is left to one script, fixed when it starts."""

    def __init__(self, room: Room) -> None:
        self.workdir, self.timeout = room.workdir, room.timeout
        self.stall_timeout, self.max_log = room.stall_timeout, room.max_log


def remove(config: Config, workdir: Path, slot: int) -> None:
    """Remove the directory of a room, whatever its scripts left there."""
    try:
        tidy.remove(config, Sandbox(config), workdir, slot)
    except (OSError, ToolError) as error:
        raise InfrastructureError(f"sources: {error}") from error


def note(room: Room, name: str, limit: int = 1024**2) -> bytes | None:
    """Take a small file that a script left among the results; None if it left none."""
    results = collect.open_directory(room.area().path / "results")
    try:
        return collect.read_note(results, name, limit)
    finally:
        os.close(results)


def packages(room: Room) -> list[Path]:
    """Take the RPM files that the scripts left; they are ours then."""
    area = room.area()
    out = area.path / "out"
    out.mkdir(mode=0o755, exist_ok=True)
    results = collect.open_directory(area.path / "results")
    try:
        return [out / name for name in collect.take(results, out)]
    finally:
        os.close(results)


def source_package(room: Room) -> Path:
    """The one source package that the scripts left."""
    found = [path for path in packages(room) if path.name.endswith((".src.rpm", ".nosrc.rpm"))]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise BuildError(f"exactly one source package must be made, there are {names}")
    return found[0]
