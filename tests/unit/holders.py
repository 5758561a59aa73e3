"""Processes that hold a lock until they are killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def holder(script: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the file until its stdin ends."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as child:
        try:
            assert child.stdout
            assert child.stdout.readline() == f"{child.pid}\n".encode()
            yield child
        finally:
            child.kill()
