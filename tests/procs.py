"""What /proc tells of processes, whatever they call themselves."""

from pathlib import Path


def stat(pid: int) -> list[str]:
    """The fields of its `stat` from the third on, its state and its parent first; raises OSError
    when it is gone. Its name may be any bytes, and other tests have such processes."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()


def cmdline(pid: int) -> bytes:
    """Its command line, or title; raises OSError when it is gone."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()
