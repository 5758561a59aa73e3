"""Removes what foreign programs left in an area."""

import contextlib
import shutil
from pathlib import Path

from backend.builders import cgroup, etc
from backend.builders.sandbox import Area, Sandbox, groups
from backend.config import Config

TIMEOUT = 600
_CLEAN = """
cd /area || exit 1
for d in *; do chmod -R u+rwX -- "$d/" 2>/dev/null; find "$d/" -mindepth 1 -delete; done
"""


def remove(config: Config, sandbox: Sandbox, workdir: Path, slot: int) -> None:
    """Remove `workdir` with the area in it, unreadable and very deep trees too.

    Whoever made it is dead, so nothing changes under our hands. What we cannot remove (without
    root a directory that the build has closed; what is deeper than Python goes) its own user
    removes, in the sandbox, which is slow.
    """
    cgroup.sweep(groups(config), config.statedir)  # of killed workers: they had a build too
    etc.take_back(config, workdir / "area", slot)
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(workdir)
        return
    area = Area.make(config, workdir, slot)
    binds: list[str] = []
    for name in ("build", "results", "tmp", "vartmp"):
        binds += ["--bind", f"{{}}/{name}", f"/area/{name}"]
    argv = ["/bin/sh", "-c", _CLEAN]
    with sandbox.command(area, argv, binds=binds) as command:
        command.run(TIMEOUT)
    etc.take_back(config, area.path, slot)
    shutil.rmtree(workdir)
