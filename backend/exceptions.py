"""Every error that this package raises on purpose.

Each message states the fact and the remedy in one line. `exit_code` is what `copr_be.py`
returns when the error ends the program.
"""

from typing import Any

from backend.constants import Exit

#: Characters of an error's text.
LONGEST_TEXT = 2000


class CoprBackendError(Exception):
    """Base of all errors below; also raised when a worker died and `exit_on_worker` is set.

    A text that quotes what others sent may be of any length; what is kept of it is not.
    """

    exit_code: Exit = Exit.FAILED

    def __init__(self, text: str = "") -> None:
        super().__init__(text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…")


class ConfigError(CoprBackendError):
    """The configuration cannot be used: file missing or broken, unknown key, bad value.

    `problems` are all that were found, one line each; the text has the first, and how many
    more there are.
    """

    exit_code = Exit.USAGE

    def __init__(self, *problems: str) -> None:
        more = len(problems) - 1
        also = f" (and {more} more: copr_be.py check lists {'them' if more > 1 else 'it'})"
        super().__init__(problems[0] + (also if more else ""))
        self.problems = problems
        #: The configuration with defaults in place of what is wrong, if it could be read.
        self.repaired: Any = None


class AlreadyRunning(CoprBackendError):
    """Another daemon holds the pid file of this configuration."""

    exit_code = Exit.ALREADY_RUNNING


class ToolError(CoprBackendError):
    """A needed program is missing, or refuses to work on this machine."""


class ToolExceeded(ToolError):
    """A program took longer, or printed more, than it may, and was killed for it."""


class ProtocolError(CoprBackendError):
    """The frontend or a queue sent something that is not in the contract; names the field."""


class FrontendError(CoprBackendError):
    """The frontend did not answer, or answered with a failure; worth another try later."""


class FrontendBroken(FrontendError):
    """The frontend answered, but nothing that can be used; whoever asks sets a limit to that."""


class FrontendSilent(FrontendError):
    """No answer came: the frontend is away, or it breaks over this one request."""


class Unreachable(FrontendBroken):
    """A server that the build needs is away: dist-git, its lookaside cache, an upload."""


class FrontendRefused(CoprBackendError):
    """The frontend answered with a final 4xx; repeating the request is useless."""


class BuildError(CoprBackendError):
    """The package's own fault: the build is failed with this message, and never retried."""


class ActionError(CoprBackendError):
    """An action that cannot be done, however often it is tried: it is failed with this message."""


class Canceled(CoprBackendError):
    """The build in progress was canceled by its owner."""


class Stopped(CoprBackendError):
    """The build in progress ends because this process was asked to stop; it stays unfinished."""


class InfrastructureError(CoprBackendError):
    """The farm's fault (host, disk, tool): the task is given back and tried again."""


class Killed(InfrastructureError):
    """A program of the build was killed from outside (memory, a person) or ran into a limit of
    ours: tried again, but only `max_attempts` times, since it may be the package's doing."""


class HostError(InfrastructureError):
    """A build host cannot be reached, went away, or cannot do its work: the build moves to
    another host."""


class HostTwice(HostError):
    """A host is one that its farm knows by another name already."""


class HostUnfit(HostError):
    """A host is well, but does not build for the chroot: the build moves to another one, and the
    host is not blamed."""
