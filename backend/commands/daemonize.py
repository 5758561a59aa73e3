"""`copr_be.py --daemonize`: detaches, and ends only when the daemon serves or has failed.

The starter reads a pipe whose other end the daemon holds: `P<pid>` once it has detached,
`R` when it is ready, or `E<exit code> <reason>`. Its end without either is a crash.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from backend.config import Config, load
from backend.constants import Exit
from backend.daemons.prepare import check_directories
from backend.exceptions import CoprBackendError
from backend.identity import Identity
from backend.locks import PidFile

#: How long a daemon may take to get ready, in seconds.
LIMIT = 180.0
#: What it prints outside its logs, e.g. the end of a crash.
OUTPUT = "daemon.out"


def run(path: Path, ext_opts: Mapping[str, Any]) -> int:
    """Start the daemon in the background. 0 once it serves; else its exit code and reason."""
    config = load(path, ext_opts["overrides"])
    check_directories(config, Identity.of(config))
    PidFile(Path(ext_opts["pidfile"] or config.rundir / "copr-be.pid")).check()
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _become(config, ext_opts, writer)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb", buffering=0) as pipe:
        return _await(pipe.fileno(), config)


# --- the starter ------------------------------------------------------------------------------


def _await(pipe: int, config: Config) -> int:
    """Read the daemon's messages until it is ready or gone; a Ctrl-C here ends it too."""
    said = b""
    deadline = time.monotonic() + LIMIT
    try:
        while not _final(said):
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise CoprBackendError(
                    f"the daemon (pid {_pid(said)}) is not ready after {LIMIT:g} s and goes on"
                    f" in the background: see {config.log_dir / 'backend.log'}"
                )
            data = os.read(pipe, 65536)
            said += data or b"\n"
            if not data:
                break
    except KeyboardInterrupt:
        if pid := _pid(said):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        raise
    return _verdict(said, config)


def _final(said: bytes) -> bool:
    return any(line[:1] in (b"R", b"E") for line in said.split(b"\n")[:-1])


def _pid(said: bytes) -> int:
    for line in said.split(b"\n")[:-1]:
        if line[:1] == b"P":
            return int(line[1:])
    return 0


def _verdict(said: bytes, config: Config) -> int:
    for line in said.split(b"\n"):
        if line[:1] == b"R":
            return Exit.OK
        if line[:1] == b"E":
            code, _, reason = line[1:].decode("utf-8", "replace").partition(" ")
            print(f"copr_be.py: {reason}", file=sys.stderr)
            return int(code)
    raise CoprBackendError(
        f"the daemon (pid {_pid(said)}) died while it started:"
        f" see the end of {config.log_dir / OUTPUT}"
    )


# --- the daemon -------------------------------------------------------------------------------


def _become(config: Config, ext_opts: Mapping[str, Any], pipe: int) -> NoReturn:
    """Detach and run; never returns to the starter's code."""
    code: int = Exit.FAILED
    starter = _Starter(pipe)
    try:
        code = _serve(config, ext_opts, starter)
    except BaseException as error:  # noqa: BLE001  (the outermost frame: told, then the end)
        starter.tell(f"E{int(code)} {type(error).__name__}: {' '.join(str(error).split())}")
        import traceback  # noqa: PLC0415  (only when something broke)

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _serve(config: Config, ext_opts: Mapping[str, Any], starter: "_Starter") -> int:
    from daemon import DaemonContext  # noqa: PLC0415  (needed here only)

    from backend.daemons.backend import run_backend  # noqa: PLC0415  (needs all of the farm)

    with (config.log_dir / OUTPUT).open("a") as out:
        # No signal_map: it would raise SystemExit in the middle of anything.
        context = DaemonContext(
            stdout=out, stderr=out, files_preserve=[starter.pipe], signal_map={}, umask=0o022,
            detach_process=True,
        )  # fmt: skip
        with context:
            starter.tell(f"P{os.getpid()}")
            try:
                run_backend(config.path, {**ext_opts, "ready": starter.ready})
            except CoprBackendError as error:
                print(f"copr_be.py: {error}", file=sys.stderr)
                starter.tell(f"E{int(error.exit_code)} {' '.join(str(error).split())}")
                return int(error.exit_code)
    # Heard only by a starter that still waits.
    starter.tell(f"E{int(Exit.FAILED)} it was stopped before it was ready")
    return Exit.OK


class _Starter:
    """The process that waits for us; it may have lost patience, and is told nothing twice."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def tell(self, message: str) -> None:
        """Send one line, unless it is gone already."""
        if self.pipe >= 0:
            with contextlib.suppress(OSError):
                os.write(self.pipe, message.encode("utf-8", "replace") + b"\n")

    def ready(self) -> None:
        """The last word of a start that went well."""
        self.tell("R")
        os.close(self.pipe)
        self.pipe = -1
