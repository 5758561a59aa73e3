"""Connections to Redis or Valkey, and the private server that a farm without one starts."""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend.config import Config
from backend.exceptions import ConfigError, CoprBackendError, ToolError
from backend.process import Child, find

SOCKET_NAME = "redis.sock"
#: How long a worker blocks for a task before it looks around; see `connect`.
BLOCK_SECONDS = 120.0
#: A silent connection counts as dead after a minute.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}

# Newer redis-py introduces itself to the server. It reads its own package's metadata for that,
# which costs every process 2 MB of private memory, and every connection two commands.
_SILENT = (
    {"driver_info": None} if "driver_info" in signature(redis.Redis.__init__).parameters else {}
)


def check_url(config: Config) -> None:
    """Raises ConfigError if no client can be made of redis_url; connects to nothing."""
    if config.redis_url:
        client = connect(config)
        with _understood(config):
            client.connection_pool.make_connection()  # looks at the options of the URL


@contextlib.contextmanager
def _understood(config: Config) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split()).removeprefix("AbstractConnection.__init__() ")
        raise ConfigError(
            f"{config.path}: [backend] redis_url = …: {reason}: correct the part after ?"
        ) from error


def connect(
    config: Config, *, timeout: float = 5.0, kind: "type[redis.Redis]" = redis.Redis
) -> "redis.Redis":
    """A client for one process; opens no connection before its first command.

    `timeout` is the longest wait for one answer, in seconds. A blocking command needs a
    client whose timeout exceeds its own. Retries are off: a repeated pop can lose a task,
    so each caller decides what repeating means. `kind` is the class of the client.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "decode_responses": True,
        "retry": Retry(NoBackoff(), 0),
        **_SILENT,
    }
    if config.redis_url:
        options["socket_connect_timeout"] = min(timeout, 5.0)
        if not config.redis_url.startswith("unix:"):
            # A worker blocks for minutes on a connection whose other end may be gone.
            options |= {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
        with _understood(config):
            return kind.from_url(config.redis_url, **options)
    return kind(unix_socket_path=str(config.rundir / SOCKET_NAME), **options)


class EmbeddedRedis:
    """A redis-server on a unix socket in rundir, dying with the process that started it.

    Everything is in its append-only file before a command is answered, so that killing it
    loses nothing.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._child: Child | None = None

    def start(self, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """Start it and wait until it answers; raises ToolError or CoprBackendError.

        False when `interrupted()` became true before that.
        """
        self.spawn()
        return self._await_answer(interrupted)

    def spawn(self) -> None:
        """Start it; it answers a little later."""
        path = self._config.rundir / SOCKET_NAME
        if len(str(path)) > 107:
            raise CoprBackendError(
                f"rundir {self._config.rundir} is too long for a unix socket: choose a shorter one"
            )
        data = self._config.statedir / "redis"
        data.mkdir(mode=0o700, exist_ok=True)
        program = find("redis-server")
        path.unlink(missing_ok=True)
        log = os.open(data / "redis.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            arguments = self._arguments(str(path), str(data))
            self._child = Child([program, *arguments], stdout=log, lasting=True)
        finally:
            os.close(log)

    @staticmethod
    def _arguments(socket: str, data: str) -> list[str]:
        return [
            *("--port", "0", "--unixsocket", socket, "--unixsocketperm", "700"),
            *("--dir", data, "--daemonize", "no", "--save", ""),
            # Not everysec: while a sync is under way it answers before it writes, and a kill
            # then loses what was answered. A power failure may cost seconds of the conveyor
            # either way, and the frontend knows them.
            *("--appendonly", "yes", "--appendfsync", "no"),
            *("--maxmemory-policy", "noeviction"),
        ]

    def _await_answer(self, interrupted: Callable[[], bool]) -> bool:
        assert self._child
        client = connect(self._config)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError):
                client.ping()
                client.close()
                return True
            if interrupted():
                return False
            if select.select([self._child], [], [], 0.01)[0]:
                break
        self.stop()
        log = self._config.statedir / "redis" / "redis.log"
        raise ToolError(f"the private redis-server did not start: see the end of {log}")

    @property
    def pid(self) -> int:
        """Its process; 0 when it was not started."""
        return self._child.pid if self._child else 0

    @property
    def alive(self) -> bool:
        """True while the server process runs."""
        return self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        """End the server: TERM first, so that it closes its file in order."""
        if self._child:
            self._child.stop(2.0)
            self._child.close()
            self._child = None
        (self._config.rundir / SOCKET_NAME).unlink(missing_ok=True)

    def kill(self) -> int:
        """End it at once, also when it is stopped or hangs; returns its exit code."""
        code = 0
        if self._child:
            code = self._child.kill()
            self._child.close()
            self._child = None
        return code

    def forget(self) -> None:
        """Forked children call this: the server is not theirs to stop."""
        self._child = None


class Pulse:
    """Whether Redis answers, asked now and then by somebody who must not wait long for it.

    `client` needs a short timeout. Any answer counts, also an error such as that of a server
    whose disk is full; `trouble` holds that error, or why there was no answer.
    """

    EVERY = 5.0
    EVERY_DOWN = 0.5

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._next = 0.0
        self.up = False
        self.trouble = "not asked yet"
        self.down_since = 0.0

    def look(self, now: float) -> bool:
        """Ask if it is time to; True when something is different from before."""
        if now < self._next:
            return False
        before = (self.up, self.trouble)
        self.up, self.trouble = True, ""
        try:
            self._client.ping()
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            if before[0] or not self.down_since:
                self.down_since = now
            self.up, self.trouble = False, _plain(error)
        except redis.RedisError as error:
            self.trouble = _plain(error)
        if self.up:
            self.down_since = 0.0
        self._next = now + (self.EVERY if self.up else self.EVERY_DOWN)
        return (self.up, self.trouble) != before

    def ask_now(self) -> None:
        """Something happened to it: the next look does not wait."""
        self._next = 0.0


def _plain(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
