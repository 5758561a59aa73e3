"""What all children of the master have in common: death with the parent, signals, title."""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from backend.constants import Exit
from backend.daemons import board
from backend.exceptions import CoprBackendError

_PR_SET_PDEATHSIG = 1
#: New objects after which the collector looks at them: Python's own number (700) means several
#: looks for each build, and hardly one finds anything.
GARBAGE = 10_000
# setproctitle would overwrite /proc/PID/environ otherwise; must be set before its import.
os.environ.setdefault("SPT_NOENV", "1")
_libc = ctypes.CDLL(None, use_errno=True)


def title(text: str) -> None:
    """Set what `ps` shows for this process."""
    import setproctitle  # noqa: PLC0415  (after SPT_NOENV)

    setproctitle.setproctitle(f"copr-be: {text}")


def become(name: str, parent: int) -> None:
    """First thing in a forked child: forget the master's signals, and die when it does.

    All children are crash-only: SIGTERM simply ends them, wherever they are, and whatever
    they leave half done is found and finished by the next one.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    # Ctrl-C goes to the whole foreground group; the master alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os._exit(Exit.FAILED)
    gc.set_threshold(GARBAGE, 20, 20)
    title(name)


def wakeup_pipe(*numbers: signal.Signals) -> int:
    """A non-blocking descriptor from which the numbers of arrived signals can be read."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def main(work: Callable[[], None], report: Callable[[str], None]) -> NoReturn:
    """Run a child's work to its end; the one place that catches everything."""
    try:
        work()
        code = Exit.OK
    except CoprBackendError as error:
        board.last_words(str(error))
        report(str(error))
        code = error.exit_code
    except Exception as error:  # noqa: BLE001  (logged, and the process ends)
        import traceback  # noqa: PLC0415  (only when something broke)

        board.last_words(f"{type(error).__name__}: {error}")
        report("".join(traceback.format_exception(error)).rstrip())
        code = Exit.FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
