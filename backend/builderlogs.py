"""Logs that a builder keeps itself, published beside the build's: mock's root.log, build.log …"""

import contextlib
from pathlib import Path

from backend import logpack
from backend.builders import LOGS
from backend.layout import BACKEND_LOG, BUILDER_LOG

_OURS = (BACKEND_LOG, BUILDER_LOG)


def keep(workdir: Path, results: Path) -> None:
    """Compress the `*.log` files of `workdir/logs` into directory `results`.

    They only inform: one that cannot be had, or for which there is no room, is left out.
    """
    directory = workdir / LOGS
    with contextlib.suppress(OSError):
        for log in sorted(directory.glob("*.log")):
            if log.name not in _OURS and log.is_file() and not log.is_symlink():
                _pack(log, results / f"{log.name}.gz")


def _pack(log: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with log.open("rb") as plain:
            logpack.pack(plain.fileno(), str(temporary))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
