"""The embedded frontend as a process of its own: CONFIG FD PASSWORD-FILE CHROOT."""

import socket
import sys
from pathlib import Path

from backend.config import load
from backend.daemons.web import waker
from backend.web.server import serve
from backend.web.setup import first_start


def main() -> None:
    """Serve on an inherited listening socket until killed."""
    config = load(Path(sys.argv[1]))
    password = Path(sys.argv[3]).read_text().strip()
    first_start(config)
    listener = socket.socket(fileno=int(sys.argv[2]))
    serve(config, listener, password=password, chroots=(sys.argv[4],), wake=waker(config))


if __name__ == "__main__":
    main()
