"""The log process: drains the event stream into log files (and, in the foreground, stderr)."""

import sys
import time
from pathlib import Path
from typing import TextIO

import redis

from backend.config import Config
from backend.constants import LOGGED_KEY
from backend.daemons import child
from backend.daemons.board import beat
from backend.events import LEVELS, Event, follow
from backend.redis_server import connect

BLOCK = 20.0


def line(event: Event) -> str:
    """One log line: UTC time, level, who, what."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.when))
    what = event.what.replace("\n", "\n    ")
    return f"{stamp} {event.level.upper():<7} {event.who}: {what}\n"


class LogWriter:
    """Writes `backend.log` in log_dir; remembers in Redis how far it came."""

    def __init__(self, config: Config, client: "redis.Redis", echo: TextIO | None) -> None:
        self._client, self._echo = client, echo
        self._least = LEVELS.index(config.log_level)
        self._path: Path = config.log_dir / "backend.log"

    def once(self, block: float) -> None:
        """Write what came since the last call, waiting up to `block` seconds for it."""
        last = str(self._client.get(LOGGED_KEY) or "0")
        newest = ""
        with self._path.open("a", encoding="utf-8") as file:
            for entry, event in follow(self._client, last, block):
                newest = entry
                known = event.level in LEVELS
                if not known or LEVELS.index(event.level) >= self._least:
                    file.write(line(event))
                    if self._echo:
                        self._echo.write(line(event))
        if newest:
            self._client.set(LOGGED_KEY, newest)
        if self._echo:
            self._echo.flush()


def main(config: Config, foreground: bool, parent: int) -> None:
    """Entry point of the forked log process."""
    child.become("log", parent)
    client = connect(config, timeout=BLOCK + 10)
    writer = LogWriter(config, client, sys.stderr if foreground else None)

    def work() -> None:
        while True:
            beat(BLOCK + 30)
            writer.once(BLOCK)

    child.main(work, lambda text: print(f"log: {text}", file=sys.stderr))
