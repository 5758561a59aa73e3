"""Removes what a mock that was killed leaves: its root, its bootstrap root, half a cache.

mock itself does it (`--scrub`): it knows what to unmount first. Beside a build's files lies a
note that says what to look for, so that the next worker can do it when this one is killed.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from backend.builders.mockrun import Desk, end_strays
from backend.builders.mocksite import User
from backend.disk import write_file
from backend.exceptions import InfrastructureError, ToolError

NOTE = "mock.json"
CONFIG = "scrub.cfg"
TIMEOUT = 600.0
#: mock's words for the step in which a prepared root is written.
_WRITES_CACHE = "creating root cache"
_STATE = 65536


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What one build makes outside its work directory."""

    root: str
    extension: str
    basedir: str
    include: str

    def write(self, desk: Path) -> None:
        """Leave the note; comes before mock is started."""
        write_file(desk / NOTE, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, desk: Path) -> Self | None:
        """The note in a work directory; None if mock was not started there."""
        try:
            return cls(**json.loads((desk / NOTE).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def left(self) -> list[Path]:
        """The directories of its roots that exist."""
        names = (f"{self.root}-{self.extension}", f"{self.root}-bootstrap-{self.extension}")
        paths = [Path(self.basedir, name) for name in names]
        return [path for path in paths if path.exists()]

    def config(self, *, slots: bool = False) -> str:
        """A configuration for scrubbing only: it works after the distribution's is gone. With
        `slots` the caches are those of the build's slot."""
        lines = [
            "import platform as _platform",
            "config_opts['target_arch'] = _platform.machine()",
            "config_opts['legal_host_arches'] = (_platform.machine(),)",
        ]
        if Path(self.include).is_file():
            lines = [f"include({self.include!r})"]
        lines += [
            f"config_opts['root'] = {self.root!r}",
            f"config_opts['basedir'] = {self.basedir!r}",
        ]
        if slots:
            slot = self.extension.partition("-")[0]
            lines.append(f"config_opts['cache_topdir'] += '/copr-slot-{slot}'")
        return "".join(f"{line}\n" for line in lines)


def clean(desk: Path, user: User, *, killed: bool) -> None:
    """Remove the traces of the mock that worked in `desk`.

    `killed` says that it did not end by itself; then the prepared root that it may have been
    writing is thrown away too. Raises InfrastructureError if something stays.
    """
    traces = Traces.read(desk)
    if traces is None:
        return
    if killed:
        end_strays(traces.extension)
        if _wrote_cache(desk / "result"):
            forget_cache(desk, user)
    if traces.left:
        _scrub(desk, user, traces, ["chroot", "bootstrap"])
    if traces.left:
        raise InfrastructureError(
            f"mock did not remove {traces.left[0]}: unmount what is mounted below, then remove it"
        )


def forget_cache(desk: Path, user: User) -> None:
    """Throw the prepared root away: the next build makes a new one."""
    traces = Traces.read(desk)
    if traces is None:
        return
    _scrub(desk, user, traces, ["root-cache"])
    if "(bootstrap)" in _state(desk / "result"):  # its copy is among the caches of the slot
        _scrub(desk, user, traces, ["bootstrap"], slots=True)


def _scrub(desk: Path, user: User, traces: Traces, what: list[str], *, slots: bool = False) -> None:
    write_file(desk / CONFIG, traces.config(slots=slots).encode())
    seat = Desk.make(desk, user)
    argv = ["-r", str(seat.seen / CONFIG), "--uniqueext", traces.extension]
    for word in what:
        argv += ["--scrub", word]
    try:
        result = seat.run(argv, TIMEOUT)
    except ToolError as error:
        raise InfrastructureError(f"mock --scrub: {error}") from error
    if result.code:
        raise InfrastructureError(
            f"mock --scrub {' '.join(what)} of {traces.root} failed: {result.last_line}"
        )


def _wrote_cache(results: Path) -> bool:
    """True if mock was writing a prepared root when it ended."""
    text = _state(results).replace("(bootstrap)", "")
    started, finished = f"Start: {_WRITES_CACHE}", f"Finish: {_WRITES_CACHE}"
    return text.count(started) > text.count(finished)


def _state(results: Path) -> str:
    with contextlib.suppress(OSError), (results / "state.log").open("rb") as file:
        return file.read(_STATE).decode("utf-8", "replace")
    return ""
