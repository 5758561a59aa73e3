"""Control groups: hard limits on the memory and the processes of a whole build.

Version 2 where the daemon's own part of the tree is delegated to it (systemd's Delegate=yes, a
container), version 1 where a directory can be made below the daemon's own, or a directory that
`[builder] cgroup` names. Where nothing can be had, `find` says why, and `limits` watches.
"""

import contextlib
import os
import select
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.exceptions import ToolError

ROOT = Path("/sys/fs/cgroup")
NEEDED = ("memory", "pids")
#: The group that the daemon itself moves to: version 2 allows no processes beside subgroups.
OWN = "daemon"
PATIENCE = 5.0
_TRIAL = "copr-be-try-"
#: A trial takes milliseconds: one that is as old as this was left behind. Seconds.
_OLD = 60.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where groups can be made: a parent directory for each controller."""

    version: int
    parents: Mapping[str, Path]

    def __str__(self) -> str:
        named = " and ".join(dict.fromkeys(str(path) for path in self.parents.values()))
        return f"cgroup v{self.version} below {named}"


@dataclass(frozen=True, kw_only=True)
class Nowhere:
    """No groups can be made here, and why."""

    reason: str

    def __str__(self) -> str:
        return f"prlimit and watching, no cgroup: {self.reason}"


def find(
    setting: str = "auto", *, root: Path = ROOT, proc: Path = Path("/proc")
) -> Place | Nowhere:
    """Where this process may make groups. Changes nothing, except that it tries.

    `setting` is `auto`, `no`, or a writable directory of version 2 without processes.
    """
    if setting == "no":
        return Nowhere(reason="switched off ([builder] cgroup)")
    if setting != "auto":
        return _second(Path(setting))
    try:
        own = _own(proc)
    except OSError as error:
        return Nowhere(reason=f"/proc/self/cgroup: {error.strerror}")
    first = _first(own, root)
    if first:
        return first
    if "" not in own:
        return Nowhere(reason="the kernel has none")
    path = _unified(root) / own[""].lstrip("/")
    return _second(path.parent if path.name == OWN else path)


def settle(root: Path = ROOT, proc: Path = Path("/proc")) -> None:
    """For the daemon, before it forks: make room for groups beside its own.

    Where version 2 is delegated to it, all processes of its group, which are its own, move to
    the subgroup `daemon`. Elsewhere it does nothing; `find` tells the difference afterwards.
    """
    with contextlib.suppress(OSError):
        own = _own(proc)
        if "" not in own or _first(own, root):
            return
        path = _unified(root) / own[""].lstrip("/")
        if path.name == OWN or not (_delegated(path) or _alone(path, proc)):
            return
        leaf = path / OWN
        leaf.mkdir(exist_ok=True)
        for _ in range(100):  # who forks meanwhile is met in the next round
            pids = (path / "cgroup.procs").read_text().split()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    (leaf / "cgroup.procs").write_text(pid)
            if not pids:
                break


def hand_over(uid: int, gid: int, root: Path = ROOT, proc: Path = Path("/proc")) -> None:
    """Give what `settle` has made to the user that the daemon is going to be."""
    with contextlib.suppress(OSError):
        path = _unified(root) / _own(proc)[""].lstrip("/")
        if path.name == OWN:
            for one in (path.parent, path):
                for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
                    os.chown(one / name, uid, gid)


def _own(proc: Path) -> dict[str, str]:
    """Controller → our group; the empty name stands for version 2."""
    found = {}
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            found[name] = path
    return found


def _unified(root: Path) -> Path:
    return root / "unified" if (root / "unified/cgroup.procs").exists() else root


def _delegated(path: Path) -> bool:
    """systemd says so, by an attribute."""
    for attribute in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(path, attribute) == b"1":
                return True
    return False


def _alone(path: Path, proc: Path) -> bool:
    """Nobody is in it but this process and those that started it: a container of our own."""
    line, pid = set(), os.getpid()
    while pid > 0:
        line.add(pid)
        pid = int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    members = set(_members(path))
    return bool(members) and members <= line and _writable(path)


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path / "cgroup.procs", os.W_OK)


def _first(own: Mapping[str, str], root: Path) -> Place | None:
    parents = {name: root / name / own[name].lstrip("/") for name in NEEDED if name in own}
    if len(parents) < len(NEEDED) or not all(_writable(path) for path in parents.values()):
        return None
    place = Place(version=1, parents=parents)
    return place if _works(place) else None


def _second(path: Path) -> Place | Nowhere:
    try:
        have = (path / "cgroup.controllers").read_text().split()
    except OSError as error:
        return Nowhere(reason=f"{path}: {error.strerror}")
    missing = [name for name in NEEDED if name not in have]
    if missing:
        return Nowhere(reason=f"{path} lacks the controllers {', '.join(missing)}")
    if not _writable(path):
        return Nowhere(reason=f"{path} is not ours: start the daemon by systemd with Delegate=yes")
    try:
        if any(name not in (path / "cgroup.subtree_control").read_text() for name in NEEDED):
            (path / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in NEEDED))
    except OSError as error:
        return Nowhere(
            reason=f"{path} has processes of its own or is not delegated ({error.strerror}):"
            " start the daemon by systemd with Delegate=yes"
        )
    place = Place(version=2, parents=dict.fromkeys(NEEDED, path))
    return place if _works(place) else Nowhere(reason=f"no group can be made in {path}")


def _works(place: Place) -> bool:
    """Made, limited and removed: read-only trees and missing files show here."""
    group = Group(place, f"{_TRIAL}{os.getpid()}", memory=1 << 30, processes=1000)
    try:
        group.make()
    except (OSError, ToolError):
        return False
    finally:
        group.remove()
    return True


def name(statedir: Path, slot: int) -> str:
    """Of the group of one slot; it tells whose it is, for `sweep`."""
    return f"{_mark(statedir)}{os.getpid()}-{slot}"


def _mark(statedir: Path) -> str:
    return f"copr-be-{zlib.crc32(os.fsencode(statedir)):08x}-"


def sweep(place: Place | Nowhere, statedir: Path) -> None:
    """Remove the groups that killed processes of this very daemon left behind, and trials."""
    for parent in {*place.parents.values()} if isinstance(place, Place) else ():
        found = [*parent.glob(f"{_mark(statedir)}*"), *filter(_old, parent.glob(f"{_TRIAL}*"))]
        for left in found:
            pid = left.name.split("-")[3]
            if not Path("/proc", pid).exists():
                _end(left, time.monotonic() + PATIENCE)


def _old(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > _OLD
    return False


class Group:
    """One group, for one run of a sandbox. Bytes and numbers of processes."""

    def __init__(self, place: Place, name: str, *, memory: int, processes: int) -> None:
        self._version = place.version
        self._paths = {what: parent / name for what, parent in place.parents.items()}
        self.memory, self.processes = memory, processes

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its directories: one for each hierarchy."""
        return tuple(dict.fromkeys(self._paths.values()))

    @property
    def doors(self) -> tuple[str, ...]:
        """The files to which a process with one thread writes 0 to enter.

        In version 1 that is the file for threads: to move a whole process the kernel first
        waits until no other one forks, about 5 ms for each hierarchy. Version 2 has no such way.
        """
        file = "tasks" if self._version == 1 else "cgroup.procs"
        return tuple(str(path / file) for path in self.paths)

    def make(self) -> None:
        """Create it, with its limits; an old one of this name is removed first."""
        self.remove()
        for path in self.paths:
            path.mkdir()
        memory, pids = self._paths["memory"], self._paths["pids"]
        if self._version == 1:
            (memory / "memory.limit_in_bytes").write_text(str(self.memory))
            with contextlib.suppress(OSError):  # not every kernel counts swap
                (memory / "memory.memsw.limit_in_bytes").write_text(str(self.memory))
        else:
            (memory / "memory.max").write_text(str(self.memory))
            for file, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                with contextlib.suppress(OSError):
                    (memory / file).write_text(value)
        (pids / "pids.max").write_text(str(self.processes))

    def out_of_memory(self) -> bool:
        """The kernel has killed a process of it for want of memory."""
        file = "memory.oom_control" if self._version == 1 else "memory.events"
        return _count(self._paths["memory"] / file, "oom_kill") > 0

    def out_of_processes(self) -> bool:
        """It was refused a process or a thread."""
        return _count(self._paths["pids"] / "pids.events", "max") > 0

    def remove(self) -> None:
        """Kill what is left in it, and remove it. The dead leave it a moment after their end."""
        deadline = time.monotonic() + PATIENCE
        for path in self.paths:
            _end(path, deadline)


def _end(path: Path, deadline: float) -> None:
    """Kill what is in one directory, and remove it."""
    while path.is_dir():
        with contextlib.suppress(OSError):
            path.rmdir()
            return
        if time.monotonic() > deadline:
            return
        for pid in _members(path):
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        select.select([], [], [], 0.002)


def _members(path: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):
        # 0 stands for a process that is not of our namespace, and for a group when killing.
        yield from filter(None, map(int, (path / "cgroup.procs").read_text().split()))


def _count(path: Path, key: str) -> int:
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            word, _, number = line.partition(" ")
            if word == key and number.isdigit():
                return int(number)
    return 0
