"""Layers: what a package needs, installed on top of a root, kept for the next build.

A *layer* is the upper directory of an overlay on the root's tree. Layers are kept, under a hash of
everything they were made from, and shown read-only to builds.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from backend.builders import installer, roots, rpmheader
from backend.builders.installer import Job, Need

#: So many layers are kept, apart from those in use.
KEEP = 20
#: A layer is made anew after this time, since the root's own repositories change too. Seconds.
OLDEST = 24 * 3600


@contextlib.contextmanager
def layer(job: Job) -> Iterator[tuple[Path, ...]]:
    """The trees to build in: a layer on top of the root, or the root alone if that suffices.

    Raises BuildError when something cannot be had, Killed when a repository is away.
    """
    tree, root = job.bench.tree, job.request.buildroot
    assert tree
    requires = tuple(rpmheader.read(job.area.path / "in.src.rpm", check=False).requires())
    if not (requires or root.packages or root.modules):
        yield (tree,)
        return
    need = Need(
        tree=tree.name,
        requires=requires,
        root=root,
        metadata=tuple(_fingerprint(str(repo.get("baseurl"))) for repo in root.repos),
    )
    top = job.config.statedir / "layers"
    top.mkdir(mode=0o700, exist_ok=True)
    place = top / need.key
    if not _fresh(place):
        _make(job, need, place)
    with roots.held(place):
        os.utime(place / "used")
        yield (place / "upper", tree)


def _fresh(place: Path) -> bool:
    try:
        return time.time() - (place / "made").stat().st_mtime < OLDEST
    except OSError:
        return False


def _fingerprint(url: str) -> str:
    """Of the state of a repository: it changes when something is published there."""
    if not url.startswith(("http://", "https://")):
        return ""
    import http.client  # noqa: PLC0415  (idle workers stay small)
    import urllib.request  # noqa: PLC0415

    address = f"{url.rstrip('/')}/repodata/repomd.xml"
    try:
        with urllib.request.urlopen(address, timeout=30) as reply:  # noqa: S310  (see above)
            return hashlib.sha256(reply.read(1024**2)).hexdigest()
    except (OSError, ValueError, http.client.HTTPException):
        return ""  # dnf will tell


def _make(job: Job, need: Need, place: Path) -> None:
    top = place.parent
    sweep(top)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=top))
    with roots.held(new):
        try:
            for name in ("upper", "work"):
                (new / name).mkdir(mode=0o755)
                os.chown(new / name, installer.SHIFT, installer.SHIFT)
            for step in ("download", "install"):
                installer.run(job, need, new, step)
            shutil.rmtree(new / "work")
            for name in ("made", "used"):
                (new / name).touch()
            if place.exists():  # too old, or made by another worker meanwhile
                place.rename(tempfile.mkdtemp(prefix="old-", dir=top))
            new.rename(place)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


def sweep(top: Path) -> None:
    """Remove layers that are unfinished, replaced, or not used for longest; never one in use."""
    found = []
    for path in top.iterdir():
        used = path / "used"
        stamp = used.stat().st_mtime if used.exists() else 0.0
        found.append((0.0 if path.name.startswith(("new-", "old-")) else stamp, path))
    kept = sorted((one for one in found if one[0]), reverse=True)[:KEEP]
    for one in found:
        if one in kept:
            continue
        fd = os.open(one[1], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(one[1], ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
