"""Carries out the actions of a Copr frontend: one dispatcher, a process for each action.

Crash-only: the frontend offers an action until its end has been reported, so that whatever
dies here is done again, and every action is safe to repeat.
"""

import contextlib
import multiprocessing
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import redis

from backend import sign
from backend.action import Action
from backend.action_plan import MAX_FAULTS, Waiting, pause, plan
from backend.actions import Yard, perform
from backend.config import Config
from backend.constants import ACTION_CHANNEL, ActionResult
from backend.daemons import child, pruner
from backend.daemons.board import beat
from backend.events import Events
from backend.exceptions import (
    ActionError,
    CoprBackendError,
    FrontendBroken,
    FrontendError,
    FrontendRefused,
    ProtocolError,
)
from backend.frontend import Frontend
from backend.redis_server import connect
from backend.repository import policy

_fork = multiprocessing.get_context("fork")
#: Exit codes of an action's process.
DONE, FAULT, UNREPORTED = 0, 10, 11
#: Tries to report an end before the process gives up; the action is then done again.
REPORTS = 8
#: New actions that one pass reads in full.
READ_AT_ONCE = 200
#: Seconds within which a pass is heard of again, whatever the frontend does.
PROMISE = 300.0
#: An action's process that takes longer hangs, in seconds.
LONGEST = 6 * 3600.0


@dataclass
class Running:
    """The process of one action; `reason` gets the words of a fault."""

    waiting: Waiting
    process: BaseProcess
    reason: Connection
    since: float


@dataclass
class Actions:
    """`once` is one pass. Keeps in memory only what the frontend tells again."""

    config: Config
    password: str
    frontend: Frontend
    say: Callable[[str, str], None]
    known: dict[int, Waiting] = field(default_factory=dict)
    running: dict[int, Running] = field(default_factory=dict)
    _trouble: str = ""
    _next_fetch: float = 0.0

    def once(self, now: float) -> None:
        """Collect what ended, ask for new actions when it is time, start what may run."""
        beat(PROMISE)
        for number, running in list(self.running.items()):
            if running.process.exitcode is not None:
                del self.running[number]
                self._ended(running, now)
            elif now - running.since > LONGEST:
                running.process.kill()
        if now >= self._next_fetch:
            self._next_fetch = now + self.config.sleeptime
            self._fetch()
            if pruner.due(self.config, time.time()):
                self.known.setdefault(pruner.PRUNE, pruner.waiting())
        busy = {number: running.waiting for number, running in self.running.items()}
        for action in plan(self.known.values(), busy, self.config.actions_max_workers, now):
            self._start(action, now)

    def _fetch(self) -> None:
        try:
            offered, problems = self.frontend.pending_actions()
            for problem in problems:
                self.say(f"pending-actions/: {problem}", "error")
            wanted = {action.id: action.priority for action in offered}
            for number in self.known.keys() - {*wanted, *self.running, pruner.PRUNE}:
                del self.known[number]
            fresh = [number for number in sorted(wanted) if number not in self.known]
            for number in fresh[:READ_AT_ONCE]:
                beat(PROMISE)
                self.known[number] = Waiting(number, wanted[number], self._projects(number))
            self._trouble = ""
        except (FrontendError, FrontendRefused) as error:
            if str(error) != self._trouble:
                self.say(f"frontend trouble with actions, trying again: {error}", "error")
            self._trouble = str(error)

    def _projects(self, number: int) -> frozenset[str]:
        """What it touches; nothing if it cannot be read: its process will find out why."""
        try:
            return Action.from_record(self.frontend.action(number), number).projects
        except (ProtocolError, FrontendBroken, FrontendRefused):
            return frozenset()

    def _start(self, action: Waiting, now: float) -> None:
        reader, writer = _fork.Pipe(duplex=False)
        me = os.getpid()

        def run() -> None:
            reader.close()
            main_of_action(self.config, self.password, action, writer, me)

        process = _fork.Process(target=run)
        process.start()
        writer.close()
        self.running[action.id] = Running(action, process, reader, now)

    def _ended(self, running: Running, now: float) -> None:
        action, code = running.waiting, running.process.exitcode
        running.process.join()
        words = ""
        with contextlib.suppress(EOFError):  # it said nothing
            if running.reason.poll():
                words = running.reason.recv_bytes().decode("utf-8", "replace")
        running.reason.close()
        running.process.close()
        if code == DONE:
            self.known.pop(action.id, None)
            return
        if code != UNREPORTED:
            action.faults += 1
            action.reason = words or f"its process ended with code {code}"
        action.not_before = now + pause(action.faults)
        name = f"action {action.id}" if action.id else "prune"
        self.say(
            f"{name}: not done yet ({action.faults}): {words or action.reason};"
            f" again in {action.not_before - now:g} s",
            "warning",
        )

    def run(self, bell: "Bell | None" = None) -> None:
        """Pass after pass, woken by the end of an action or by the bell, at the latest after
        `sleeptime`."""
        while True:
            now = time.monotonic()
            self.once(now)
            until = [self._next_fetch, *(a.not_before for a in self.known.values())]
            ahead = [moment - now for moment in until if moment > now]
            rope = bell.rope() if bell else []
            woken = wait(
                [*(running.process.sentinel for running in self.running.values()), *rope],
                timeout=min([*ahead, float(self.config.sleeptime)]),
            )
            if bell and any(end in rope for end in woken) and bell.rung():
                self._next_fetch = 0.0


class Bell:
    """Rings when the embedded frontend has new actions. Without Redis it is silent: what was
    missed is found at the next regular look."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._pubsub: Any = None

    def rope(self) -> list[Any]:
        """What to wait for: the socket of the subscription, if there is one."""
        try:
            if self._pubsub is None:
                self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
                self._pubsub.subscribe(ACTION_CHANNEL)
            socket = getattr(self._pubsub.connection, "_sock", None)
        except (redis.RedisError, OSError):
            self._drop()
            return []
        return [] if socket is None else [socket]

    def rung(self) -> bool:
        """Take what has arrived; True when it rang, or may have."""
        rang = False
        try:
            while self._pubsub.connection.can_read(0):
                rang = self._pubsub.get_message(timeout=0) is not None or rang
        except (redis.RedisError, OSError):
            self._drop()
            return True
        return rang

    def _drop(self) -> None:
        if self._pubsub is not None:
            with contextlib.suppress(redis.RedisError, OSError):
                self._pubsub.close()
        self._pubsub = None


def main_of_action(
    config: Config, password: str, waiting: Waiting, reason: Connection, parent: int
) -> NoReturn:
    """Entry point of the process of one action."""
    child.become(f"action {waiting.id}" if waiting.id else "prune", parent)
    client = connect(config)
    events = Events(client, "actions")
    frontend = Frontend(config.frontend_url, password)

    def work() -> None:
        if waiting.id == pruner.PRUNE:
            code = pruner.carry_out(config, frontend, events, reason)
        else:
            code = _carry_out(config, frontend, waiting, events, reason)
        if code:
            os._exit(code)

    child.main(work, lambda text: events.emit(text, "error"))


def _carry_out(
    config: Config, frontend: Frontend, waiting: Waiting, events: Events, reason: Connection
) -> int:
    """Do it and report it; returns the exit code."""
    result, message = ActionResult.FAILURE, ""
    yard = Yard(
        destdir=config.destdir,
        results_url=config.results_url,
        frontend_url=config.frontend_url,
        say=events.emit,
        policy=lambda repo: policy(config, repo),
        signer=lambda owner, name: sign.signer(config, owner, name),
    )
    try:
        if waiting.faults >= MAX_FAULTS:
            raise ActionError(f"given up after {waiting.faults} tries, the last: {waiting.reason}")
        action = Action.from_record(frontend.action(waiting.id), waiting.id)
        perform(action, yard)
        events.emit(f"{action.label}: done")
        result = ActionResult.SUCCESS
    except (ActionError, ProtocolError) as error:
        message = str(error)
        events.emit(f"action {waiting.id} failed: {message}", "error")
    except (CoprBackendError, OSError) as error:
        reason.send_bytes(str(error).encode()[:4000])
        return FAULT
    return _report(frontend, waiting.id, result, message, reason)


def _report(
    frontend: Frontend, number: int, result: ActionResult, message: str, reason: Connection
) -> int:
    for attempt in range(REPORTS):
        try:
            frontend.end_action(number, result, message[:1000])
        except FrontendError as error:
            last = str(error)
            select.select([], [], [], min(30.0, 0.5 * 2**attempt))
        except FrontendRefused as error:
            last = str(error)
            break
        else:
            return DONE
    reason.send_bytes(f"its end could not be reported: {last}".encode()[:4000])
    return UNREPORTED


def main(config: Config, password: str, parent: int) -> None:
    """Entry point of the forked dispatcher."""
    child.become("actions", parent)
    client = connect(config)
    events = Events(client, "actions")
    frontend = Frontend(config.frontend_url, password)
    dispatcher = Actions(config, password, frontend, events.emit)
    bell = Bell(client) if config.embedded else None
    child.main(lambda: dispatcher.run(bell), lambda text: events.emit(text, "error"))
