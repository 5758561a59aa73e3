"""The hosts helper: gives hosts to builds; makes, checks and ends machines.

Started only where a group builds elsewhere than on this machine. Crash-only: what it knows is
in Redis and on disk, and what it was doing is found half done and finished by the next one.
"""

import contextlib
import fcntl
import os
import select
import time
from collections.abc import Iterator
from typing import Any, cast

import redis

from backend.config import Config
from backend.constants import HOST_CHANNEL
from backend.daemons import child
from backend.daemons.board import beat
from backend.daemons.errands import Errands
from backend.daemons.hostkeeper import HostKeeper
from backend.events import Events
from backend.hosts import ledger
from backend.hosts.exchange import Exchange
from backend.processid import ProcessId
from backend.redis_server import connect

#: Longest pause between two turns, in seconds.
LONGEST = 30.0
#: Within so many seconds it is heard of again.
PROMISE = 120.0


class Steady:
    """Seconds since the epoch as this process counts them: a clock of the machine that is put
    forward ends no pause too early, and one that is put back makes nobody wait for it."""

    def __init__(self) -> None:
        self._offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def __call__(self) -> float:
        """Now."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self._offset


class Watch:
    """Whether workers are alive: a descriptor for each, so that a death wakes us."""

    def __init__(self) -> None:
        self._fds: dict[tuple[int, int], int] = {}

    def alive(self, pid: int, start: int) -> bool:
        """True while that very process runs."""
        return ProcessId(pid, start).alive

    def fds(self, holders: set[tuple[int, int]]) -> list[int]:
        """Readable when one of them has ended."""
        for gone in self._fds.keys() - holders:
            os.close(self._fds.pop(gone))
        for pid, start in holders - self._fds.keys():
            with contextlib.suppress(OSError):  # gone: the next turn sees that
                self._fds[pid, start] = os.pidfd_open(pid)
        return list(self._fds.values())


@contextlib.contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Two helpers would give one host away twice: the older one must be gone first."""
    path = ledger.directory(config)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            beat(PROMISE)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            select.select([], [], [], 0.1)
        yield
    finally:
        os.close(fd)


def run(keeper: HostKeeper, errands: Errands, watch: Watch, pubsub: Any) -> None:
    """Turn after turn: at each message, death and end of an errand, and when something is due."""
    clock = Steady()
    keeper.begin(clock())
    while True:
        beat(PROMISE)
        now = clock()
        keeper.once(now)
        socket = getattr(pubsub.connection, "_sock", None)
        ends = [*errands.fds(), *watch.fds(keeper.holders()), *([socket] if socket else [])]
        if not pubsub.connection.can_read(0):
            poll = select.poll()
            for end in ends:
                poll.register(end, select.POLLIN)
            poll.poll(int(1000 * min(LONGEST, keeper.until(now))))
        while pubsub.connection.can_read(0):
            message = pubsub.get_message(timeout=0)
            if message and message["data"] == "retry":
                keeper.retry(clock())


def main(config: Config, parent: int) -> None:
    """Entry point of the forked helper."""
    child.become("hosts", parent)
    client = connect(config, timeout=10.0)
    events = Events(client, "hosts")

    def work() -> None:
        try:
            with _alone(config):
                pubsub: Any = cast(Any, client).pubsub(ignore_subscribe_messages=True)
                pubsub.subscribe(HOST_CHANNEL)
                errands, watch = Errands(), Watch()
                keeper = HostKeeper(config, Exchange(client), errands, events.emit, watch.alive)
                run(keeper, errands, watch, pubsub)
        except redis.RedisError as error:
            events.emit(f"Redis is away: {error}", "error")

    child.main(work, lambda text: events.emit(text, "error"))
