"""A directory to try a sandbox out in, before there is a build: it outlives nobody."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Nobody names a directory of his own like that.
PREFIX = ".copr-be-trial-"


@contextlib.contextmanager
def directory(place: Path | None = None) -> Iterator[Path]:
    """A private directory in `place` (the usual one for temporary files), locked while in use.

    What killed processes of this user left there is removed first: who holds no lock is dead.
    """
    place = place or Path(tempfile.gettempdir())
    sweep(place)
    with contextlib.ExitStack() as stack:
        path = _locked(place, stack)
        stack.callback(shutil.rmtree, path)
        yield path


def sweep(place: Path) -> None:
    """Remove what nobody has locked; what cannot be removed stays."""
    for left in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if _hold(left, stack, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(left, ignore_errors=True)


def _locked(place: Path, stack: contextlib.ExitStack) -> Path:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        with contextlib.suppress(OSError):  # a sweep came between
            if _hold(path, stack, fcntl.LOCK_EX):
                return path


def _hold(path: Path, stack: contextlib.ExitStack, how: int) -> bool:
    """Lock our own directory until the end of `stack`; False if it is not, or no longer, ours."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    if os.fstat(fd).st_uid != os.geteuid():
        return False
    fcntl.flock(fd, how)
    return os.path.samestat(os.fstat(fd), path.lstat())
