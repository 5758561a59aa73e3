"""Keeps Redis in sight: starts the private server, revives it, and knows whether it answers."""

import time
from collections.abc import Callable

from backend.config import Config
from backend.exceptions import CoprBackendError
from backend.pool import Backoff, Death
from backend.redis_server import EmbeddedRedis, Pulse, connect

#: The master waits no longer than this for one answer of Redis, in seconds.
PATIENCE = 1.0
#: A private server that does not answer for so long is killed and started again, in seconds.
HUNG = 10.0


class RedisKeeper:
    """`say` is `CoprBackend.event`. `turn` never raises: the farm outlives its Redis."""

    def __init__(self, config: Config, say: Callable[..., None]) -> None:
        self._say = say
        self._server = None if config.redis_url else EmbeddedRedis(config)
        try:
            self.client = connect(config, timeout=PATIENCE)
        except ValueError as error:
            raise CoprBackendError(f"cannot use Redis: {error}: correct redis_url") from error
        self._pulse = Pulse(self.client)
        self._backoff = Backoff(proven=True)
        self._born = 0.0
        self._told = ""

    @property
    def up(self) -> bool:
        """It answered when it was last asked."""
        return self._pulse.up

    def answers(self) -> bool:
        """Ask it now: it may be back since it was last asked."""
        self._pulse.ask_now()
        self._pulse.look(time.monotonic())
        return self._pulse.up

    @property
    def trouble(self) -> str:
        """What is wrong with it; empty when all is well."""
        return self._pulse.trouble

    @property
    def pid(self) -> int:
        """The private server's process; 0 if there is none."""
        return self._server.pid if self._server else 0

    def start(self, interrupted: Callable[[], bool]) -> None:
        """First start; raises when the private server cannot be started."""
        if self._server:
            self._born = time.monotonic()
            self._server.start(interrupted)

    def turn(self, now: float) -> bool:
        """Revive it if need be, and ask how it is; True when it has just come (back)."""
        was_up = self._pulse.up
        if self._server:
            self._revive(self._server, now)
        if self._pulse.look(now):
            self._tell()
        return self._pulse.up and not was_up

    def child_ended(self) -> None:
        """Perhaps it was ours: do not wait to ask."""
        if self._server and not self._server.alive:
            self._pulse.ask_now()

    def _tell(self) -> None:
        trouble = self._pulse.trouble
        # A refused connection is worded in many ways; whether it answers is what matters.
        told = trouble if self._pulse.up else "away"
        if told != self._told:
            if not self._pulse.up:
                self._say(f"Redis is away, trying again: {trouble}", "error", kind="redis.away")
            elif trouble:
                text = f"Redis answers with an error: {trouble}"
                self._say(text, "error", kind="redis.trouble")
            elif self._told:
                self._say("Redis answers again", kind="redis.back")
        self._told = told

    def _revive(self, server: EmbeddedRedis, now: float) -> None:
        down = self._pulse.down_since
        hung = bool(down) and now - max(down, self._born) > HUNG
        if server.alive and not hung:
            return
        if server.pid:
            what = "did not answer and was killed" if server.alive else "ended"
            code = server.kill()
            text = f"the private redis-server {what}, starting it again"
            self._say(text, "error", kind="redis.revived")
            death = Death(age=now - self._born, code=code, ready=True)
            self._backoff.note([death], now)
        if not self._backoff.may_start(now):
            return
        self._born = now
        try:
            server.spawn()
        except (CoprBackendError, OSError) as error:
            self._backoff.note([Death(age=0.0, code=1, ready=False)], now)
            self._say(f"the private redis-server cannot be started: {error}", "error")
        self._pulse.ask_now()

    def forget(self) -> None:
        """Forked children call this: the server is not theirs to stop."""
        if self._server:
            self._server.forget()

    def stop(self) -> None:
        """End the private server, and the connection."""
        if self.client.connection_pool:
            self.client.connection_pool.disconnect()
        if self._server:
            self._server.stop()
        self._server = None
