"""The process of the embedded frontend: everything heavy is imported here, after the fork."""

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Any

import redis

from backend import constants, wake
from backend.config import Config
from backend.daemons import child
from backend.daemons.board import beat
from backend.exceptions import ToolError
from backend.redis_server import connect

#: The server looks around once a second; one request may hold it up for a while.
PROMISE = 60.0
_REMEDIES = {
    errno.EADDRINUSE: "stop the program that uses it, or set another [web] port",
    errno.EACCES: "set a [web] port of 1024 or more, or start as root",
}


def listen(config: Config) -> socket.socket:
    """Bind the frontend's port in the master, so that it survives a restart of the process.

    Raises ToolError with the remedy when it is taken.
    """
    family = socket.AF_INET6 if ":" in config.web_host else socket.AF_INET
    try:
        listener = socket.create_server(
            (config.web_host, config.web_port), family=family, backlog=2048
        )
        # Inherited by every connection. asyncio would set it only where the socket names its
        # protocol; without it each answer waits 40 ms for the peer's delayed ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        # create_server adds the address to the text
        reason = (error.strerror or str(error)).partition(" (while attempting")[0]
        remedy = _REMEDIES.get(error.errno or 0, "correct [web] host")
        raise ToolError(
            f"cannot listen on {config.web_host} port {config.web_port}: {reason}: {remedy}"
        ) from error


def waker(config: Config) -> Callable[[str, list[dict[str, Any]]], None]:
    """What the frontend calls after a commit: tells the job grabber to look now."""
    client = connect(config, timeout=1.0)

    def tell(why: str, tasks: list[dict[str, Any]]) -> None:
        # Without Redis the grabber, or the actions' process, finds it at its next regular look.
        with contextlib.suppress(redis.RedisError, OSError):
            if why == "action":
                client.publish(constants.ACTION_CHANNEL, "")
            else:
                client.publish(constants.WAKE_CHANNEL, wake.encode(why, tasks))

    return tell


def main(
    config: Config,
    listener: socket.socket,
    *,
    password: str,
    chroots: tuple[str, ...],
    parent: int,
) -> None:
    """Entry point of the forked web process; its first `beat` says that it serves."""
    child.become("web", parent)

    def work() -> None:
        try:
            from backend.explain import explainer  # noqa: PLC0415
            from backend.farmview import watcher  # noqa: PLC0415
            from backend.web.server import serve  # noqa: PLC0415  (only this process needs it)
            from backend.web.setup import first_start  # noqa: PLC0415
        except ImportError as error:
            raise ToolError(
                f"the embedded frontend needs {error.name}: pip install 'copr-backend[web]'"
            ) from error
        first_start(config)
        serve(
            config,
            listener,
            password=password,
            chroots=chroots,
            wake=waker(config),
            explain=explainer(config),
            look=watcher(config),
            alive=lambda: beat(PROMISE),
        )

    child.main(work, lambda _: None)
