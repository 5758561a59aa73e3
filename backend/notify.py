"""Tells whoever started the daemon how it is doing: the sd_notify protocol of systemd.

One datagram of `KEY=value` lines to the unix socket in $NOTIFY_SOCKET; see sd_notify(3).
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping


def notify(**fields: str) -> None:
    """Send e.g. `READY="1"` or `STATUS="…"`; does nothing when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    message = "\n".join(f"{key}={' '.join(value.split())}" for key, value in fields.items())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)  # a full socket costs this message, not our time
        sock.sendto(message.encode(), address)


def reloading() -> None:
    """Say that a reload begins; `READY="1"` ends it (Type=notify-reload)."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify(RELOADING="1", MONOTONIC_USEC=str(now))


class Watchdog:
    """systemd's watchdog, when it watches this process: one sign of life per half interval."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        usec = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", "") in ("", str(pid))
        #: Seconds between two signs; None when nobody watches.
        self.every = int(usec) / 2e6 if meant and usec.isdigit() and int(usec) else None
        self._next = 0.0

    def beat(self, now: float) -> None:
        """Send the sign if it is time."""
        if self.every is not None and now >= self._next:
            self._next = now + self.every
            notify(WATCHDOG="1")
