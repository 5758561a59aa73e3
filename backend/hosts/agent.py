"""The agent: what runs on a host at the other end of a connection.

It answers one worker, over its standard streams, and ends with the connection, or when the
worker has said nothing for too long. Builds are not its children: they go on, and another agent
takes up where this one was cut off.
"""

import contextlib
import json
import os
import platform
import select
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import config as configuration
from backend.builders import Builder, BuildRequest
from backend.builders.plugin import load_builder, try_out
from backend.exceptions import CoprBackendError
from backend.hosts import guard, runs
from backend.hosts.following import Following
from backend.hosts.runs import DONE, BadName, Run
from backend.hosts.wire import CHUNK, Frame, Inbox, WireError, from_json, pack

#: An agent that no worker asks for anything ends, after so many seconds.
IDLE = 900
#: How long a build that must give way may take to go, in seconds.
GIVE_WAY = 60.0
#: A build that nobody has asked for so many ticks counts as lost.
MISSED = 2
#: Agents of other versions that nobody has used for so many seconds are removed.
OLD = 30 * 86400
_POLL = 0.5


class Trouble(Exception):
    """Why this host cannot do what it was asked; the worker gets the text."""


@dataclass
class Shop:
    """What `setup` told."""

    builder: Builder
    farm: str
    lease: float
    tick: float
    limit: int


@dataclass
class Upload:
    """A run that is not started yet."""

    run: Run
    lock: int
    source: int
    control: int


class Agent:
    """`serve` answers frames until the input ends."""

    def __init__(self, base: Path, reader: int, writer: int) -> None:
        self._base, self._in, self._out = base, reader, writer
        self._inbox = Inbox()
        self._shop: Shop | None = None
        self._upload: Upload | None = None
        self._following: Following | None = None
        self._said = time.monotonic()

    def serve(self) -> None:
        """Until end of input. A worker that stays silent ends us by an alarm."""
        signal.alarm(IDLE)
        while True:
            active = self._upload or self._following
            watched = [self._in]
            watched += [self._upload.control] if self._upload else []
            watched += [self._following.wake] if self._following else []
            wait = _POLL if active else None
            ready = select.select(watched, [], [], wait)[0]
            if self._in in ready:
                data = os.read(self._in, CHUNK)
                if not data:
                    return
                for frame in self._inbox.feed(data):
                    self._answer(frame)
                busy = self._shop and (self._upload or self._following)
                signal.alarm(int(self._shop.lease) if self._shop and busy else IDLE)
            if self._upload and self._upload.control in ready:
                return  # it must give way before it has begun
            self._report()

    # --- what the worker asks -------------------------------------------------------------

    def _answer(self, frame: Frame) -> None:
        try:
            getattr(self, f"_on_{frame.kind}", self._unknown)(frame)
        except (Trouble, CoprBackendError, OSError, BadName, WireError) as error:
            self._say("trouble", text=str(error), what=frame.kind)

    def _unknown(self, frame: Frame) -> None:
        raise Trouble(f"the agent knows no {frame.kind!r}")

    def _on_ping(self, _: Frame) -> None:
        self._say("pong")

    def _on_setup(self, frame: Frame) -> None:
        config = self._config(frame.text("config", 10**6))
        builder = load_builder(config)
        try_out(config, builder)
        self._shop = Shop(
            builder=builder,
            farm=frame.text("farm"),
            lease=float(frame.number("lease")),
            tick=float(frame.number("tick")),
            limit=frame.number("limit"),
        )
        swept, problems = runs.sweep(self._base, builder)
        self._forget_old_agents()
        chroots = [str(chroot) for chroot in builder.chroots()]
        self._say(
            "ready", chroots=chroots, swept=swept, problems=problems, name=platform.node()[:250]
        )

    def _config(self, text: str) -> configuration.Config:
        with tempfile.NamedTemporaryFile("w", dir=self._base, suffix=".conf") as file:
            file.write(text)
            file.flush()
            return configuration.load(Path(file.name))

    def _forget_old_agents(self) -> None:
        own = Path(__file__).parents[2]
        for path in own.parent.iterdir():
            with contextlib.suppress(OSError):
                if path != own and path.stat().st_mtime < time.time() - OLD:
                    shutil.rmtree(path)

    def _on_claim(self, frame: Frame) -> None:
        name, others = frame.text("name"), frame.fields.get("others")
        known = others if isinstance(others, list) else []
        self._say("claimed", name=runs.claim(self._base, self._ready().farm, name, known))

    def _on_open(self, frame: Frame) -> None:
        shop = self._ready()
        if self._upload:
            raise Trouble("one build at a time")
        run = Run.named(self._base, frame.text("run"))
        if run.farm != shop.farm:
            raise Trouble(f"run {run.path.name} is not of farm {shop.farm}")
        self._upload = self._make(shop, run, frame.text("name"))

    def _make(self, shop: Shop, run: Run, source: str) -> Upload:
        """Never more builds of one farm at once than it says: those that it has lost give way.

        Agents that look at the same moment must not both find the last free place. Which one is
        lost shows in that nobody asks for it: it is waited for that.
        """
        missed = MISSED * shop.tick
        deadline = time.monotonic() + missed + GIVE_WAY
        seen: dict[Path, tuple[int, float]] = {}
        while True:
            with runs.room(self._base):
                there = runs.building(self._base, shop.farm)
                excess = there[: max(0, len(there) - shop.limit + 1)]
                if not excess:
                    lock, file = run.make(source)
                    return Upload(run=run, lock=lock, source=file, control=run.fifo("control"))
            if time.monotonic() > deadline:
                raise Trouble(f"a build that was lost does not end: {excess[0].path}")
            for one in excess:
                if one.silence() > missed or _still(one, seen) > missed:
                    one.tell("control", DONE)
            select.select([], [], [], 0.02)
            self._tick(shop)

    def _on_data(self, frame: Frame) -> None:
        if self._upload:  # else it was refused, and that has been said
            rest = memoryview(frame.data)
            while rest:
                rest = rest[os.write(self._upload.source, rest) :]
            self._upload.run.renew()

    def _on_start(self, frame: Frame) -> None:
        shop, upload = self._ready(), self._upload
        if upload is None:
            return  # as above
        os.close(upload.source)
        request = from_json(BuildRequest, frame.fields.get("request"))
        if upload.run.source.stat().st_size != frame.number("size"):
            raise Trouble("the source package did not arrive whole")
        order = guard.Order(run=upload.run, request=request, builder=shop.builder, lease=shop.lease)
        guard.start(order, upload.lock)
        os.close(upload.lock)
        os.close(upload.control)
        self._upload = None
        self._say("started")

    def _on_follow(self, frame: Frame) -> None:
        self._stop_following()
        run = Run.named(self._base, frame.text("run"))
        try:
            self._following = Following(run, frame.number("offset"))
        except FileNotFoundError:
            raise Trouble("the build is gone: the host was restarted, or lost for too long") from (
                None
            )
        run.renew()

    def _on_keep(self, _: Frame) -> None:
        if self._following:
            self._following.run.renew()
        if self._upload:
            self._upload.run.renew()

    def _on_cancel(self, frame: Frame) -> None:
        Run.named(self._base, frame.text("run")).tell("control", b"c")

    def _on_done(self, frame: Frame) -> None:
        self._stop_following()
        Run.named(self._base, frame.text("run")).tell("control", DONE)

    def _on_fetch(self, frame: Frame) -> None:
        run = Run.named(self._base, frame.text("run"))
        outcome = json.loads((run.path / "outcome.json").read_text())
        listed = outcome.get(frame.text("list"), [])
        wanted = listed[frame.number("number", len(listed) - 1)]
        with open(wanted["path"], "rb") as file:
            file.seek(frame.number("offset"))
            while data := file.read(CHUNK):
                run.renew()
                signal.alarm(max(1, int(self._ready().lease)))
                self._say("data", data)
        self._say("fetched")

    # --- what we tell ---------------------------------------------------------------------

    def _report(self) -> None:
        """More of the log, or how it ended, or at least that we live."""
        if not self._shop:
            return
        if following := self._following:
            following.awake()
            ended = following.outcome()
            while data := following.read():
                self._say("log", data)
                if select.select([self._in], [], [], 0)[0]:
                    return  # the worker has something to say, perhaps that it is too much
            if ended:
                self._stop_following()
                self._say("end", outcome=ended)
        if self._upload or self._following:  # an idle worker does not listen
            self._tick(self._shop)

    def _tick(self, shop: Shop) -> None:
        if time.monotonic() - self._said > shop.tick:
            self._say("tick")

    def _ready(self) -> Shop:
        if self._shop is None:
            raise Trouble("setup comes first")
        return self._shop

    def _stop_following(self) -> None:
        if self._following:
            self._following.close()
            self._following = None

    def _say(self, kind: str, data: bytes = b"", **fields: Any) -> None:
        rest = memoryview(pack(kind, data, **fields))
        while rest:
            rest = rest[os.write(self._out, rest) :]
        self._said = time.monotonic()


def _still(run: Run, seen: dict[Path, tuple[int, float]]) -> float:
    """Seconds for which we have seen that nobody asks for it: its time lies in the future when
    the host's clock was put right meanwhile."""
    renewed, now = run.renewed(), time.monotonic()
    if seen.get(run.path, (-1, now))[0] != renewed:
        seen[run.path] = (renewed, now)
    return now - seen[run.path][1]


def main(base: str) -> None:
    """Take over the standard streams; what else is printed goes nowhere."""
    os.umask(0o077)
    os.chdir("/")
    reader, writer = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(null, 1)
    with contextlib.suppress(BrokenPipeError):
        Agent(Path(base), reader, writer).serve()
