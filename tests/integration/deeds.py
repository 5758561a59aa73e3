"""A process that is killed before its n-th change of the disk, on a machine of any speed."""

import os
import signal
import sys
from collections.abc import Callable

DEEDS = {
    "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "subprocess.Popen",
}  # fmt: skip


def killed_before(deed: int, work: Callable[..., object], *args: object) -> None:
    """Work in this process, which is killed before its `deed`-th deed; never, if that is 0.

    Ends the process. It is for one that was forked for this.
    """
    left = [deed]

    def count(event: str, _arguments: object) -> None:
        if event in DEEDS:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    work(*args)
    os._exit(0)
