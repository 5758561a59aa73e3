"""Ctrl-C while the program is still being loaded: it ends at once, and prints nothing."""

import os
import signal

from backend.constants import Exit


def _end(*_: object) -> None:
    os._exit(Exit.INTERRUPTED)


class Loading:
    """`with Loading():` around imports, where nothing is to be cleaned up.

    As an exception, Ctrl-C would come up anywhere in them, where Python prints it and goes on
    (in a callback), or turns it into another one (in a class body). Where it is ignored, as in
    the background of a script, it stays so.
    """

    def __enter__(self) -> None:
        self._own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._own:
            signal.signal(signal.SIGINT, _end)

    def __exit__(self, *_: object) -> None:
        if self._own:
            signal.signal(signal.SIGINT, signal.default_int_handler)
