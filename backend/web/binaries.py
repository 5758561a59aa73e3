"""Binary packages that somebody has built elsewhere: what they say of themselves, and where they
belong.

Only the header is read here. Whether all of the package is as its digests say is for the worker
to find out, before it publishes it.
"""

import re
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import rpmtags
from backend.chroot import Chroot
from backend.constants import Status
from backend.web import names
from backend.web.errors import ApiError
from backend.web.models import Project
from backend.web.upload import Upload

_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH, _SOURCEPACKAGE = 1000, 1001, 1002, 1003, 1022, 1106
#: Names of files that workers publish.
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~^-]{0,195}\.rpm")

#: A header may take a hundred megabytes of memory: they are read one after the other.
_ONE = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Binary:
    """An uploaded package: its name, `[epoch:]version-release`, architecture and file name."""

    name: str
    evr: str
    arch: str
    filename: str


def take(upload: Upload) -> Binary:
    """What the uploaded package is, which is then stored under the name that it gives itself.

    Raises ApiError if it cannot be published.
    """
    path = upload.directory / upload.name
    try:
        with _ONE:
            found = _read(path)
    except (ValueError, struct.error) as error:
        raise ApiError(400, f"pkgs: {upload.name} is refused: {error}") from error
    path.rename(upload.directory / found.filename)
    return found


def _read(path: Path) -> Binary:
    with path.open("rb") as file:
        _, header = rpmtags.both(file)
    if _SOURCEPACKAGE in header.tags:
        raise ValueError("it is a source package: copr-cli build takes it")
    name, version, release, arch = (header.text(tag) for tag in (_NAME, _VERSION, _RELEASE, _ARCH))
    filename = f"{name}-{version}-{release}.{arch}.rpm"
    if not all((name, version, release, arch)) or not _FILE.fullmatch(filename):
        raise ValueError(f"its header says {filename[:200]!a}, which is no usual name")
    names.package_name(name)
    if len(name) > 100:
        raise ValueError("the name of the package is longer than 100 characters")
    epoch = next(iter(header.numbers(_EPOCH)), 0)
    evr = f"{epoch}:{version}-{release}" if epoch else f"{version}-{release}"
    return Binary(name=name, evr=evr, arch=arch, filename=filename)


def columns(binary: Binary, project: Project, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a build that publishes the package, whose others are `chosen`: there is no source
    step, and the chroots that fit wait for a worker. Raises ApiError if none fits."""
    wanted = chosen["chroots"] or [c for c in project.chroots if c not in chosen["excluded"]]
    if not wanted:
        raise ApiError(400, "chroots: there is none to publish in: copr-cli modify --chroot NAME")
    fitting = [name for name in wanted if Chroot.parse(name).takes(binary.arch)]
    if not fitting:
        raise ApiError(
            400, f"pkgs: {binary.filename} is for {binary.arch}, which none of these chroots takes:"
            f" {', '.join(wanted)}"
        )  # fmt: skip
    return {
        "source_status": int(Status.SKIPPED),
        "pkg_name": binary.name,
        "pkg_version": binary.evr,
        "chroots": fitting,
        "chroot_status": int(Status.PENDING),
    }
