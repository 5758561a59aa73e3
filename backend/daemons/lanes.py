"""Threads that do nothing but wait for others: the frontend's answers, messages from Redis.

Everything they bring goes into one inbox, and one thread acts on it: slow answers delay only
what needs them, and nothing is shared.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any

from backend.exceptions import FrontendError, FrontendRefused


class Inbox:
    """What the other threads bring: (handler, value), to be called by the owner's thread."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[[Any], None], Any]] = queue.SimpleQueue()

    def put(self, handler: Callable[[Any], None], value: Any) -> None:
        """From any thread."""
        self._queue.put((handler, value))

    def handle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for something, then handle all there is."""
        try:
            handler, value = self._queue.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return False
        handler(value)
        while not self._queue.empty():
            handler, value = self._queue.get()
            handler(value)
        return True


def _raise(error: BaseException) -> None:
    raise error


class Lane:
    """One request to the frontend at a time, in a thread of its own."""

    def __init__(self, name: str, inbox: Inbox) -> None:
        self._inbox = inbox
        self._work: queue.SimpleQueue[
            tuple[Callable[[], Any], Callable[[Any], None], Callable[[Exception], None]]
        ] = queue.SimpleQueue()
        #: True from `ask` until the answer is handled.
        self.busy = False
        self._name = name
        self._thread: threading.Thread | None = None

    def ask(
        self,
        request: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run `request` there. `done(result)`, or `failed` with a FrontendError or
        FrontendRefused, is called here, from `Inbox.handle`; any other exception is raised."""
        assert not self.busy
        self.busy = True
        if self._thread is None:  # not before: the inbox's owner may still fork
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._work.put((request, done, failed))

    def _run(self) -> None:
        while True:
            request, done, failed = self._work.get()
            try:
                answer = request()
            except (FrontendError, FrontendRefused) as error:
                self._inbox.put(self._free(failed), error)
            except BaseException as error:  # noqa: BLE001  (raised where it is seen)
                self._inbox.put(_raise, error)
            else:
                self._inbox.put(self._free(done), answer)

    def _free(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        def handle(value: Any) -> None:
            self.busy = False
            handler(value)

        return handle


def listen(pubsub: Any, inbox: Inbox, handler: Callable[[str], None]) -> None:
    """Bring the messages of a subscription (redis-py's), until its connection breaks: that
    error is raised in the owner's thread."""

    def run() -> None:
        try:
            while True:
                message = pubsub.get_message(timeout=60.0)
                if message is not None:
                    inbox.put(handler, str(message["data"]))
        except BaseException as error:  # noqa: BLE001  (raised where it is seen)
            inbox.put(_raise, error)

    threading.Thread(target=run, name="wake", daemon=True).start()
