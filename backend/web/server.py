"""Runs the embedded frontend on a socket that somebody else has bound."""

import asyncio
import contextlib
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from backend.config import Config
from backend.explain import Explain, nothing
from backend.farmview import Look, nobody
from backend.web.app import create_app
from backend.web.patience import Guard, Patience, Protocol, end
from backend.web.writer import Wake

#: The server looks around this often, in seconds; uvicorn's own ten times a second cost more
#: than anything else in an idle farm.
_TURN = 1.0


class _Server(uvicorn.Server):
    """Ends by returning, where uvicorn would raise the signal once more; says that it lives."""

    def __init__(
        self, config: uvicorn.Config, alive: Callable[[], None], patience: Patience
    ) -> None:
        super().__init__(config)
        self._alive = alive
        self._guard = Guard(patience)
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the wish, and wake the loop that looks for it."""
        super().handle_exit(sig, frame)
        if self._loop:
            self._loop.call_soon_threadsafe(self._ended.set)

    async def main_loop(self) -> None:
        """Serve until it is time to go; `on_tick(0)` also renews the Date header."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            self._alive()
            late = self._guard.look(self.server_state.connections, self._loop.time())
            for connection in late:
                end(connection)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _TURN)

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
    wake: Wake,
    explain: Explain = nothing,
    look: Look = nobody,
    alive: Callable[[], None] = lambda: None,
    patience: Patience = Patience(),  # noqa: B008  (frozen)
) -> None:
    """Answer on the listening socket until SIGTERM or SIGINT; then end within a second.

    `alive` is called about once a second, for the first time when it serves. Clients that are
    slower than `patience` allows are left.
    """
    app = create_app(
        config, password=password, chroots=chroots, wake=wake, explain=explain, look=look
    )
    settings = uvicorn.Config(
        app,
        http=Protocol,
        access_log=False,
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    gc.freeze()  # what is there now stays, and need not be looked at again and again
    asyncio.run(_Server(settings, alive, patience).serve(sockets=[sock]))
