"""Runs the embedded frontend on a socket that somebody else has bound."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from backend.config import Config
from backend.web.app import create_app


class _Server(uvicorn.Server):
    """Ends by returning, where uvicorn would raise the signal once more."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT while the body runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    config: Config,
    sock: socket.socket,
    *,
    password: str,
    chroots: tuple[str, ...],
    wake: Callable[[str], None],
) -> None:
    """Answer on the listening socket until SIGTERM or SIGINT; then end within a second."""
    app = create_app(config, password=password, chroots=chroots, wake=wake)
    settings = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    asyncio.run(_Server(settings).serve(sockets=[sock]))
