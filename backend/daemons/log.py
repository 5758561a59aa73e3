"""The log process: drains the event stream into `backend.log`, stderr and sinks.

Where it stands is kept in Redis, and written after the events are safe: a kill at any moment
loses none. What the file then already holds is recognised and not written twice.
"""

import contextlib
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import redis

from backend.config import Config
from backend.constants import EVENTS_KEEP, EVENTS_KEY, LOGGED_KEY
from backend.daemons import child
from backend.daemons.board import beat
from backend.daemons.sentinel import Watch
from backend.daemons.webhook import Webhook
from backend.events import FULL, LEVELS, Event, Events, follow
from backend.redis_server import connect

BLOCK = 20.0
#: Pause after a full disk or a Redis that is away, in seconds.
PAUSE = 1.0
#: Pause after a few events: those of the next moment are written together.
LINGER = 0.05
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
#: What a terminal would obey rather than show, and what UTF-8 cannot hold.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def line(event: Event) -> str:
    """One entry of the log file: UTC time, level, who, what; further lines are indented."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.when))
    what = _UNPRINTABLE.sub("?", event.what).replace("\n", "\n    ")
    head = f"{stamp} {event.level.upper():<7} {event.who}: ".replace("\n", "?")
    return f"{_UNPRINTABLE.sub('?', head)}{what}\n"


def journal(event: Event) -> str:
    """The same for journald, which has a time of its own: each line begins with `<priority>`."""
    prefix = f"<{_PRIORITIES.get(event.level, 6)}>"
    lines = _UNPRINTABLE.sub("?", f"{event.who}: {event.what}").split("\n")
    return "".join(f"{prefix}{text}\n" for text in lines)


def to_journal(stream: TextIO) -> bool:
    """True when `stream` is the journal's own pipe: systemd.exec(5), $JOURNAL_STREAM."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stat = os.fstat(stream.fileno())
        return (stat.st_dev, stat.st_ino) == (int(device), int(inode))
    except (ValueError, OSError):
        return False


@dataclass(frozen=True)
class Mark:
    """How far the stream has been written: the last entry, and where its file ended then."""

    entry: str = "0"
    inode: int = 0
    offset: int = 0

    @classmethod
    def parse(cls, text: str | None) -> "Mark":
        """From its JSON; anything else means the beginning."""
        try:
            raw = json.loads(text or "")
            return cls(str(raw["entry"]), int(raw["inode"]), int(raw["offset"]))
        except (ValueError, TypeError, KeyError):
            return cls()


class LogFile:
    """An append-only file that others may rename, remove or truncate at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def reopen(self) -> None:
        """Hold the file of our name; costs one system call when it is the one in hand."""
        if self._fd >= 0:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(self._path.stat(), os.fstat(self._fd)):
                    return
            self.close()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._fd = os.open(self._path, flags, 0o644)

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def prepare(self, mark: Mark) -> Mark:
        """The mark, moved to the end of the file of our name when it speaks of another one."""
        self.reopen()
        stat = os.fstat(self._fd)
        if (mark.inode, mark.offset <= stat.st_size) == (stat.st_ino, True):
            return mark
        return Mark(mark.entry, stat.st_ino, stat.st_size)

    def append(self, data: bytes, mark: Mark) -> int:
        """Write `data`, less what stands behind the prepared mark already; returns the offset
        where it ends. Raises OSError; then the same data may be given again."""
        end = os.fstat(self._fd).st_size
        there = os.pread(self._fd, max(0, min(end - mark.offset, len(data))), mark.offset)
        if data.startswith(there):
            end, data = mark.offset, data[len(there) :]
            self._write(data)
            return end + len(there) + len(data)
        self._write(data)
        return end + len(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


class LogWriter:
    """`once` writes what came. `sinks` get all events at least once, before they count as
    written; an OSError from one keeps them for later."""

    def __init__(
        self,
        config: Config,
        client: "redis.Redis",
        echo: TextIO | None,
        sinks: Sequence[Callable[[Sequence[Event]], None]] = (),
    ) -> None:
        self._client, self._echo, self._sinks = client, echo, sinks
        self._render = journal if echo and to_journal(echo) else line
        self._least = LEVELS.index(config.log_level)
        self._file = LogFile(config.log_dir / "backend.log")
        self._trouble = ""
        self._mark: Mark | None = None

    def once(self, block: float) -> list[Event]:
        """Write what came since the last call, waiting up to `block` seconds for it."""
        mark, gap = (self._mark, None) if self._mark else self._where()
        self._mark = None  # known again only when all went well
        entries = list(follow(self._client, mark.entry, block))
        if gap is None:  # only who lags far behind can have missed something
            gap = self._where()[1] if len(entries) == FULL else []
        if not entries:
            return []
        events = [event for _, event in entries]
        shown = gap + [event for event in events if self._wanted(event)]
        try:
            for sink in self._sinks:
                sink(events)
            ready = self._file.prepare(mark)
            if ready != mark:  # known before it is used, so that half a batch is recognised
                self._remember(ready, caught_up=False)
            offset = self._file.append("".join(map(line, shown)).encode(), ready)
        except OSError as error:
            self._complain(error)
            return []
        self._show(shown)
        done, caught_up = Mark(entries[-1][0], ready.inode, offset), len(entries) < FULL
        self._remember(done, caught_up)
        self._mark = done
        return events

    def _wanted(self, event: Event) -> bool:
        return event.level not in LEVELS or LEVELS.index(event.level) >= self._least

    def _where(self) -> tuple[Mark, list[Event]]:
        """The mark, and a notice when the stream has lost what follows it."""
        pipe = self._client.pipeline(transaction=False)
        pipe.get(LOGGED_KEY)
        pipe.xrange(EVENTS_KEY, count=1)
        pipe.xrevrange(EVENTS_KEY, count=1)
        text, first, newest = pipe.execute()
        mark = Mark.parse(text)
        if not first or mark.entry == "0" or _order(first[0][0]) <= _order(mark.entry):
            lost = newest and _order(newest[0][0]) < _order(mark.entry)
            return (Mark() if lost else mark), []  # lost: another stream than we knew
        last, oldest = (_order(entry)[0] / 1000 for entry in (mark.entry, first[0][0]))
        what = f"the stream was full: what was said in the {oldest - last:.1f} s before is missing"
        return mark, [Event(when=oldest, who="log", what=what, level="warning", kind="log.gap")]

    def _remember(self, mark: Mark, caught_up: bool) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.set(LOGGED_KEY, json.dumps(asdict(mark)))
        if caught_up:  # else the oldest ones are not written yet
            pipe.xtrim(EVENTS_KEY, maxlen=EVENTS_KEEP, approximate=True)
        pipe.execute()

    def _show(self, events: list[Event]) -> None:
        if self._trouble:
            self._say("log: the log files are written again, nothing is missing")
            self._trouble = ""
        if self._echo and events:
            with contextlib.suppress(OSError, ValueError):  # nobody listens any more
                self._echo.write("".join(map(self._render, events)))
                self._echo.flush()

    def _complain(self, error: OSError) -> None:
        """Once for each trouble; the events wait in the stream."""
        text = f"log: cannot write: {error}: events are kept until there is room"
        if text != self._trouble:
            self._say(text)
        self._trouble = text
        select.select([], [], [], PAUSE)

    @staticmethod
    def _say(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def _order(entry: str) -> tuple[int, int]:
    milliseconds, _, number = entry.partition("-")
    return int(milliseconds), int(number or 0)


def last_word(events: Sequence[Event], master: int) -> bool:
    """True when the master has said that it is stopped: nothing will follow."""
    return any(e.kind == "daemon.stopped" and e.data.get("pid") == master for e in events)


def run(writer: LogWriter, watch: Watch, parent: int) -> None:
    """Write until the master's last word, and look after the farm; Redis may come and go."""
    away = False
    while True:
        beat(BLOCK + 30)
        try:
            events = writer.once(min(BLOCK, watch.period))
            if last_word(events, parent):
                return
            if 0 < len(events) < FULL:
                select.select([], [], [], LINGER)
            watch.once(time.monotonic())
            away = False
        except redis.RedisError as error:
            if not away:
                print(f"log: Redis is away: {error}", file=sys.stderr, flush=True)
            away = True
            select.select([], [], [], PAUSE)


def main(config: Config, foreground: bool, parent: int) -> None:
    """Entry point of the forked log process."""
    child.become("log", parent)
    # The master forwards it; the file of our name is looked at before each write anyway.
    signal.signal(signal.SIGUSR1, lambda *_: None)
    client = connect(config, timeout=BLOCK + 10)
    sinks = []
    if config.webhook_url:
        hook = Webhook(config)
        hook.start()
        sinks.append(hook.sink)
    writer = LogWriter(config, client, sys.stderr if foreground else None, sinks)

    def report(text: str) -> None:
        print(f"log: {text}", file=sys.stderr)

    watch = Watch(config, client, Events(client, "sentinel"))
    child.main(lambda: run(writer, watch, parent), report)
