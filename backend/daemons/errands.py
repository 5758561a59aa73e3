"""Errands: what takes long or may hang is done in a forked process, with a time limit.

Whoever sent it waits for none of them. An errand returns a JSON object, or the words of its
fault; one that does not end in time is killed with what it runs.
"""

import contextlib
import json
import multiprocessing
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from backend.daemons import child
from backend.exceptions import CoprBackendError

_fork = multiprocessing.get_context("fork")
#: Longest answer, in bytes.
ANSWER = 4 * 1024**2
#: What an errand has beyond the limit of the program that it runs, in seconds.
GRACE = 15.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """`error` is empty when it went well; `fault` is the name of its class."""

    kind: str
    name: str
    result: Mapping[str, Any]
    error: str = ""
    fault: str = ""


@dataclass
class _Running:
    process: BaseProcess
    reader: Connection
    deadline: float
    timeout: float


class Errands:
    """All that are under way, by kind and name."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], _Running] = {}

    def busy(self, kind: str = "") -> set[str]:
        """The names for which something, or this, is under way."""
        return {name for what, name in self._running if kind in ("", what)}

    def send(
        self,
        kind: str,
        name: str,
        work: Callable[[], Mapping[str, Any]],
        timeout: float,
        now: float,
    ) -> None:
        """Do it in a process of its own. `now` as in `collect`."""
        reader, writer = _fork.Pipe(duplex=False)
        parent = os.getpid()

        def run() -> None:
            reader.close()
            child.become(f"host {kind} {name}", parent)
            child.main(lambda: _report(writer, work), lambda _text: None)

        process = _fork.Process(target=run)
        process.start()
        writer.close()
        limit = timeout + GRACE
        self._running[kind, name] = _Running(process, reader, now + limit, limit)

    def fds(self) -> list[Any]:
        """Readable when one has ended."""
        return [running.reader for running in self._running.values()]

    def next_deadline(self) -> float:
        """When the next one must be killed."""
        return min((r.deadline for r in self._running.values()), default=float("inf"))

    def collect(self, now: float) -> list[Ended]:
        """Those that have ended, or whose time is over. Never blocks."""
        found = []
        for (kind, name), running in list(self._running.items()):
            late = now >= running.deadline
            if not running.reader.poll() and not late:
                continue
            raw = self._answer(running)
            self._bury(kind, name)
            if raw is None:
                words = f"killed after {running.timeout:g} s" if late else "its process died"
                raw = {"error": f"{kind}: {words}", "fault": "ToolError"}
            found.append(Ended(kind=kind, name=name, **{"result": {}, **raw}))
        return found

    @staticmethod
    def _answer(running: _Running) -> dict[str, Any] | None:
        with contextlib.suppress(EOFError, OSError):
            if running.reader.poll():
                raw = json.loads(running.reader.recv_bytes(ANSWER))
                return raw if isinstance(raw, dict) else None
        return None

    def cancel(self, kind: str, name: str) -> None:
        """Kill it, if it is under way."""
        if (kind, name) in self._running:
            self._bury(kind, name)

    def _bury(self, kind: str, name: str) -> None:
        running = self._running.pop((kind, name))
        running.process.kill()
        running.process.join()
        running.process.close()
        running.reader.close()


def _report(writer: Connection, work: Callable[[], Mapping[str, Any]]) -> None:
    try:
        answer: dict[str, Any] = {"result": dict(work())}
    except (CoprBackendError, OSError) as error:
        answer = {"error": str(error)[:1000], "fault": type(error).__name__}
    except Exception as error:  # noqa: BLE001  (a transport may be anybody's function)
        answer = {"error": f"{type(error).__name__}: {error}"[:1000], "fault": "ToolError"}
    writer.send_bytes(json.dumps(answer).encode())
