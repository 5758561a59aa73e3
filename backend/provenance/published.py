"""Builds as their results tell of them: what `rebuild` needs to make one again."""

import gzip
import json
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.builders import BuildRequest, Buildroot
from backend.builders.installed import NAME
from backend.chroot import Chroot
from backend.constants import SRPM_CHROOT
from backend.exceptions import CoprBackendError
from backend.layout import BUILD_INFO, CONFIGS, SUCCESS, UPLOADED, WITHHELD

_MOST = 16 * 1024**2
#: What reading a damaged file may raise.
_DAMAGED = (OSError, EOFError, zlib.error)
_SOURCES = (".src.rpm", ".nosrc.rpm")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A succeeded build: its directory, and the settings that it was built with."""

    path: Path
    settings: Mapping[str, Any]

    @property
    def chroot(self) -> Chroot:
        """What it was built for; the settings say the same."""
        return Chroot.parse(self.path.parent.name)

    @property
    def rpms(self) -> dict[str, Path]:
        """Its binary packages by name."""
        found = sorted(self.path.glob("*.rpm"))
        return {path.name: path for path in found if not path.name.endswith(_SOURCES)}

    @property
    def source(self) -> Path:
        """Its source package; raises CoprBackendError if it is gone."""
        found = [path for path in self.path.glob("*.rpm") if path.name.endswith(_SOURCES)]
        if len(found) != 1:
            raise CoprBackendError(f"{self.path} has not one source package, but {len(found)}")
        return found[0]

    @property
    def host(self) -> str:
        """Where it was built: `local`, or the name of a host."""
        return _host(self.path)

    @property
    def installed(self) -> frozenset[str] | None:
        """The packages that it found installed; None if nobody has noted them.

        Raises CoprBackendError if the list is damaged.
        """
        path = self.path / f"{NAME}.gz"
        if not path.is_file():
            return None
        try:
            with gzip.open(path, "rb") as file:
                return names(file.read(_MOST).decode("utf-8", "replace"))
        except _DAMAGED as error:
            raise CoprBackendError(f"{path} cannot be read: {error}") from error

    def request(
        self, workdir: Path, slot: int, *, timeout: int, stall: int, log: int
    ) -> BuildRequest:
        """To build it again; raises CoprBackendError if its settings are not to be used."""
        root = self.settings
        try:
            return BuildRequest(
                srpm=self.source,
                chroot=self.chroot,
                workdir=workdir,
                slot=slot,
                timeout=min(int(root["timeout"]), timeout),
                stall_timeout=stall,
                max_log=log,
                enable_net=bool(root["enable_net"]),
                with_opts=tuple(map(str, root["with_opts"])),
                without_opts=tuple(map(str, root["without_opts"])),
                reproducible=bool(root.get("reproducible", False)),
                buildroot=Buildroot(
                    repos=tuple(dict(repo) for repo in root["repos"]),
                    packages=tuple(map(str, root["packages"])),
                    modules=tuple(map(str, root["modules"])),
                    isolation=str(root["isolation"]),
                    bootstrap=str(root["bootstrap"]),
                    bootstrap_image=str(root["bootstrap_image"]),
                    memory=int(root["memory"]),
                    macros=tuple((str(name), str(value)) for name, value in root["macros"]),
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CoprBackendError(f"{self.path / CONFIGS} is damaged: {error!r}") from error


def names(text: str) -> frozenset[str]:
    """The first column of a list of packages."""
    return frozenset(line.split()[0] for line in text.splitlines() if line.strip())


def find(destdir: Path, build: int, chroot: str = "") -> list[Published]:
    """The succeeded builds of that number, of one chroot or of all.

    Raises CoprBackendError if there is none, or one has no settings.
    """
    pattern = f"*/*/{chroot or '*'}/{build:08d}-*"
    there = [path for path in sorted(destdir.glob(pattern)) if path.parent.name != SRPM_CHROOT]
    good = [path for path in there if (path / SUCCESS).exists() or (path / WITHHELD).exists()]
    if not good:
        where = f" for {chroot}" if chroot else ""
        have = ", ".join(
            sorted({path.parent.name for path in destdir.glob(f"*/*/*/{build:08d}-*")})
        )
        why = f"its results are for {have}" if have else "no chroot has results of it"
        why = "it has not succeeded" if there else why
        raise CoprBackendError(f"build {build}{where} is not in {destdir}: {why}")
    if any(_host(path) == UPLOADED for path in good):
        raise CoprBackendError(
            f"build {build} was not built here: its package was uploaded (copr-cli uploadrpm)"
        )
    return [Published(path=path, settings=_settings(path)) for path in good]


def _host(directory: Path) -> str:
    path = directory / BUILD_INFO
    text = path.read_text("utf-8", "replace") if path.is_file() else ""
    found = [line.partition("=")[2] for line in text.splitlines() if "builder_ip=" in line]
    return found[0] if found else "local"


def _settings(path: Path) -> Mapping[str, Any]:
    try:
        with tarfile.open(path / CONFIGS) as archive:
            member = archive.getmember("configs/settings.json")
            file = archive.extractfile(member)
            found = json.loads(file.read(_MOST)) if file else None
    except (*_DAMAGED, KeyError, ValueError, tarfile.TarError) as error:
        raise CoprBackendError(f"{path / CONFIGS} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise CoprBackendError(f"{path / CONFIGS} holds no settings")
    return found
