"""Counts the memory that a build holds without having it mapped. A program of its own: it takes
long where much is open, and it enters the build's namespaces.

    python3 -I -S census.py PID

prints two numbers of bytes: in files of memory (those without a name, removed ones, System V
segments), and of the kernel's own (messages, semaphores, what lies in unix sockets); and 1 if a
process hides what it has open, or files are on their way between processes. It knows nothing of
this package, since it runs without it.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator

#: Bytes of the kernel's memory that anything takes which it has to remember: a file in memory even
#: if it is empty, a socket, a queue, a descriptor.
NAME = 1024
_MESSAGE, _SEMAPHORE = 64, 64

# linux/nsfs.h, sched.h, sock_diag.h, unix_diag.h, netlink.h
_NS_GET_USERNS = 0xB701
_IPC, _USER, _NET = 0x08000000, 0x10000000, 0x40000000
_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP = 4, 20, 0x301
_SHOW_MEMINFO, _MEMINFO, _DONE_OR_ERROR = 0x20, 5, (2, 3)
_HEADER, _ANSWER = 16, 16


def processes(pid: int, proc: str = "/proc") -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for one, parent in _parents(proc):
        children.setdefault(parent, []).append(one)
    found = [pid]
    for one in found:
        found += children.get(one, ())
    return found


def _parents(proc: str) -> Iterator[tuple[int, int]]:
    for name in os.listdir(proc):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = _read(f"{proc}/{name}/stat").rpartition(b")")[2].split()
                yield int(name), int(fields[1])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def hides(pid: int, proc: str = "/proc") -> bool:
    """It has seen to it that we, who are no root, may not look at what it has open."""
    try:
        with os.scandir(f"{proc}/{pid}/fd"):
            return False
    except PermissionError:
        with contextlib.suppress(OSError):
            for line in _read(f"{proc}/{pid}/status").splitlines():
                if line.startswith(b"Uid:"):  # others than ours: a bwrap that is set-uid root
                    return {int(word) for word in line.split()[1:]} == {os.geteuid()}
    except OSError:
        pass
    return False


def sends(pid: int) -> bool:
    """Files are on their way to it through a socket, where nobody can look at them."""
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.stat(entry.path).st_mode):  # noqa: PTH116
                    for line in _read(f"/proc/{pid}/fdinfo/{entry.name}").splitlines():
                        if line.startswith(b"scm_fds:") and int(line.split()[1]):
                            return True
    return False


def opened(directory: str) -> Iterator[os.stat_result]:
    """What a directory of descriptors leads to, as far as we may look."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # it may be closed meanwhile
                yield os.stat(entry.path)  # noqa: PTH116


def nameless(family: list[int]) -> int:
    """Bytes in files of memory that have no name: by descriptors of each thread, which may have
    its own, and mapped ones, which only root may look at."""
    probe = os.memfd_create("census")
    device = os.fstat(probe).st_dev
    os.close(probe)
    found: dict[int, int] = {}
    for one in family:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):  # noqa: PTH208
                for info in opened(f"/proc/{one}/task/{task}/fd"):
                    if info.st_dev == device:
                        found[info.st_ino] = info.st_blocks * 512
        for info in _mapped(one, device):
            found[info.st_ino] = info.st_blocks * 512
    return sum(found.values())


def _mapped(pid: int, device: int) -> Iterator[os.stat_result]:
    """Files of one file system that a process has mapped, without segments of System V."""
    shown = b"%02x:%02x" % (os.major(device), os.minor(device))
    with contextlib.suppress(OSError):
        for line in _read(f"/proc/{pid}/maps").splitlines():
            place, _, _, where, _, *path = line.split(maxsplit=5)
            if where == shown and not b"".join(path).startswith(b"/SYSV"):
                first, last = (int(word, 16) for word in place.split(b"-"))
                with contextlib.suppress(OSError):
                    yield os.stat(f"/proc/{pid}/map_files/{first:x}-{last:x}")  # noqa: PTH116


def system_v(proc: str = "/proc") -> tuple[int, int]:
    """Bytes in the segments, and in all else of System V, of the namespace that we are in."""
    segments = kernel = 0
    for line in _table(f"{proc}/sysvipc/shm"):
        segments += line[14] + line[15]
        kernel += NAME
    for line in _table(f"{proc}/sysvipc/msg"):
        kernel += NAME + line[3] + _MESSAGE * line[4]
    for line in _table(f"{proc}/sysvipc/sem"):
        kernel += NAME + _SEMAPHORE * line[3]
    return segments, kernel


def _table(path: str) -> Iterator[list[int]]:
    for line in _read(path).splitlines()[1:]:
        yield [int(word) for word in line.split()]


def unix_sockets() -> int:
    """Bytes that lie in the unix sockets of the namespace that we are in."""
    total, every = 0, 2**32 - 1
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as link:
        ask = struct.pack("=BxxxIIIII", socket.AF_UNIX, every, 0, _SHOW_MEMINFO, every, every)
        size = _HEADER + len(ask)
        link.send(struct.pack("=IHHII", size, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + ask)
        while True:
            data, place = link.recv(1 << 18), 0
            while place < len(data):
                size, kind = struct.unpack_from("=IH", data, place)
                if kind in _DONE_OR_ERROR:
                    return total
                total += NAME + _lying(data[place + _HEADER + _ANSWER : place + size])
                place += (size + 3) & ~3


def _lying(attributes: bytes) -> int:
    """Of one socket: what it has received, and what it has sent and nobody has read."""
    while len(attributes) >= 4:
        size, kind = struct.unpack_from("=HH", attributes)
        if kind == _MEMINFO:
            received, _, sent = struct.unpack_from("=III", attributes, 4)
            return int(received + sent)
        attributes = attributes[max(4, (size + 3) & ~3) :]
    return 0


def _enter(space: int, kind: int) -> None:
    """Go to a namespace, as an ordinary user by the user namespace that owns it."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(fd: int, kind: int) -> None:
        if libc.setns(fd, kind):
            raise OSError(ctypes.get_errno(), "setns")

    try:
        enter(space, kind)
    except PermissionError:
        enter(fcntl.ioctl(space, _NS_GET_USERNS), _USER)
        enter(space, kind)


def _spaces(family: list[int]) -> dict[int, int]:
    """Namespaces of the build's last process that are not ours: what they are → descriptor."""
    for one in reversed(family):
        found = {}
        with contextlib.suppress(OSError):
            for name, kind in (("ipc", _IPC), ("net", _NET)):
                path = f"/proc/{one}/ns/{name}"
                if os.readlink(path) != os.readlink(f"/proc/self/ns/{name}"):  # noqa: PTH115
                    found[kind] = os.open(path, os.O_RDONLY)
            if found:
                return found
    return {}


def main() -> None:
    """Prints what it finds; what it may not look at counts as nothing."""
    family = processes(int(sys.argv[1]))
    held, kernel = nameless(family), 0
    hidden = any(hides(one) or sends(one) for one in family)
    spaces = _spaces(family)
    with contextlib.suppress(OSError, KeyError):
        _enter(spaces[_IPC], _IPC)
        segments, more = system_v()
        held, kernel = held + segments, kernel + more
    with contextlib.suppress(OSError, KeyError):
        _enter(spaces[_NET], _NET)
        kernel += unix_sockets()
    sys.stdout.write(f"{held}\n{kernel}\n{int(hidden)}\n")


if __name__ == "__main__":
    main()
