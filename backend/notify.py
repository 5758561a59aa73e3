"""Tells whoever started the daemon how it is doing: the sd_notify protocol of systemd.

One datagram of `KEY=value` lines to the unix socket in $NOTIFY_SOCKET; see sd_notify(3).
"""

import contextlib
import os
import socket


def notify(**fields: str) -> None:
    """Send e.g. `READY="1"` or `STATUS="…"`; does nothing when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    message = "\n".join(f"{key}={value}" for key, value in fields.items())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(message.encode(), address)
