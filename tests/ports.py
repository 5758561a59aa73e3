"""Ports for servers of tests: nobody else gets them between the choice and the use."""

import contextlib
import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DICE = random.SystemRandom()  # not the one that is seeded alike in all processes


def _outside() -> range:
    """Ports that no outgoing connection is given, and none that connects to itself."""
    low, high = 32768, 60999
    with contextlib.suppress(OSError, ValueError):
        low, high = map(int, _RANGE.read_text().split())
    return max(range(10000, low), range(high + 1, 65536), key=len)


def free_port() -> int:
    """A port of this process until it ends: an abstract socket marks it, which lives where the
    ports do, so that other tests, of other runs, too, choose another one."""
    ports = _outside()
    for _ in range(10_000):
        port = _DICE.choice(ports) if ports else 0
        with contextlib.ExitStack() as stack:
            mark = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock = stack.enter_context(socket.socket())
            try:
                sock.bind(("127.0.0.1", port))
                port = int(sock.getsockname()[1])
                mark.bind(f"\0copr-be-test-port-{port}")
            except OSError:
                continue
            mark.detach()
            return port
    raise OSError("no port is free")
