"""What comes before bubblewrap on a command line: the group, private mounts, the user, limits."""

import os
import resource
import shlex
from collections.abc import Sequence
from pathlib import Path

from backend.builders.cgroup import Group
from backend.config import Config
from backend.exceptions import ToolError
from backend.process import find

#: The worker may have been killed before it could be asked to tell of its death.
_PARENT = '[ "$PPID" = {} ] || exit 94; '
_JOIN = 'for g in {}; do echo 0 >"$g" || exit 90; done; '
#: Where the machine lacks memory, builds go before all else: what one holds in files of memory the
#: kernel does not count for it when it looks for the culprit.
_FIRST = "{ echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null; "
_AREA = 'mount --bind "$1" "$2" || exit 91; '
_TREE = 'mount --bind "$3" "$2/root" || exit 92; '
_LAYERS = 'mount -t overlay overlay -o "lowerdir=$3" "$2/root" || exit 92; '
#: bash has -u for it, dash -p. bash leaves SHLVL, and no build needs to see that it was there.
_NPROC = (
    'ulimit -u "$1" 2>/dev/null || ulimit -p "$1" || exit 95; shift;'
    ' [ ! -x /usr/bin/env ] || exec /usr/bin/env -u SHLVL "$@"; exec "$@"'
)
#: Bytes in POSIX message queues, which nobody counts: what Linux gives each user by itself.
_QUEUES = 819200
#: A /proc that no container manager has masked.
_PROC = "mount -t proc proc /proc 2>/dev/null; "


def join(group: Group | None) -> str:
    """The piece of a shell script by which it enters the group, and is the first to go."""
    return _FIRST + (_JOIN.format(" ".join(map(shlex.quote, group.doors))) if group else "")


def limit(config: Config, group: Group | None) -> list[str]:
    """What each process may use, as a command before bubblewrap."""
    wanted = {
        "fsize": (resource.RLIMIT_FSIZE, config.builder_max_file),
        "nofile": (resource.RLIMIT_NOFILE, 65536),
        # With 0 the machine may still have a program to take cores (core_pattern), which would be
        # started for each crash of a build and keep what it is given: with 1 it is not started.
        "core": (resource.RLIMIT_CORE, 1),
    }
    if group is None:
        wanted["msgqueue"] = (resource.RLIMIT_MSGQUEUE, _QUEUES)
        wanted["as"] = (resource.RLIMIT_AS, config.builder_max_memory)
    if os.geteuid() == 0:  # each build has a user of its own
        wanted["nproc"] = (resource.RLIMIT_NPROC, _processes(config, group))
    argv = [find("prlimit")]
    for name, (number, limit) in wanted.items():
        hard = resource.getrlimit(number)[1]
        most = _at_most(limit, hard)
        soft = min(most, 4096) if name == "nofile" else most
        argv.append(f"--{name}={soft}:{most}")
    return [*argv, "--"]


def limit_inside(config: Config, group: Group | None, shell: str) -> list[str]:
    """What is left for a command in the sandbox to limit: an ordinary user's processes.

    Of a limit that is set inside, only those of its user namespace count. One that is set before
    holds for all that the user has anywhere, of which there may be more at any time.
    """
    if os.geteuid() == 0:
        return []
    most = _at_most(_processes(config, group), resource.getrlimit(resource.RLIMIT_NPROC)[1])
    return [shell, "-c", _NPROC, "sh", str(most)]


def _processes(config: Config, group: Group | None) -> int:
    """A group is stricter, and tells who exceeded it: leave it that."""
    return config.builder_max_processes * (2 if group else 1)


def _at_most(limit: int, hard: int) -> int:
    return limit if hard == resource.RLIM_INFINITY else min(limit, hard)


def mount_point() -> str:
    """An empty directory of the machine that private mounts may cover."""
    for place in ("/mnt", "/media", "/srv", "/opt"):
        if Path(place).is_dir():
            return place
    raise ToolError("no /mnt, /media, /srv or /opt to mount the build area on: mkdir /mnt")


def enter(
    area: Path, uid: int, place: str, trees: Sequence[Path], group: Group | None
) -> list[str]:
    """What comes first: into the group, and for root, who has a `place` to mount on, private
    mounts of the area and of the root, and the change of user."""
    if not place:
        text = _PARENT.format(os.getpid()) + join(group) + 'exec "$@"'
        return [find("sh"), "-c", text, "sh"]
    text = _PARENT.format(os.getpid()) + join(group) + _AREA
    if trees:
        text += _TREE if len(trees) == 1 else _LAYERS
    if _masked():
        text += _PROC
    user = str(uid)
    # The parent-death signal is set again: a change of credentials clears it.
    return [
        *(find("unshare"), "--mount", "--propagation", "private", "--"),
        *(find("sh"), "-c", text + 'shift 3; exec "$@"', "sh"),
        *(str(area), place, ":".join(map(str, trees))),
        *(find("setpriv"), "--reuid", user, "--regid", user, "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--pdeathsig", "KILL", "--"),
    ]


def _masked() -> bool:
    """Something is mounted over parts of /proc, which forbids a fresh one in a sandbox."""
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    return " /proc/" in mounts
