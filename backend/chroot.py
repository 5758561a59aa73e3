"""Names of chroots, `<os>-<version>-<arch>`, split from the right (`centos-stream-9-x86_64`)."""

import re
from dataclasses import dataclass
from typing import Self

from backend.exceptions import ProtocolError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+]*(?:-[A-Za-z0-9._+]+){2,}")

#: Architectures of packages that chroots of any of these names hold.
_ALIKE = ({"i386", "i486", "i586", "i686"}, {"armhfp", "armv7hl", "armv7hnl"})


@dataclass(frozen=True, kw_only=True)
class Chroot:
    """One build environment, e.g. os `fedora`, version `41`, arch `x86_64`."""

    os: str
    version: str
    arch: str

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read `os-version-arch`; raises ProtocolError on anything else."""
        if not _NAME.fullmatch(name) or ".." in name:
            raise ProtocolError(
                f"{name!r} is no chroot name: expected <os>-<version>-<arch>, e.g. fedora-41-x86_64"
            )
        system, version, arch = name.rsplit("-", 2)
        return cls(os=system, version=version, arch=arch)

    @property
    def name_release(self) -> str:
        """`<os>-<version>`, the frontend's name for the distribution."""
        return f"{self.os}-{self.version}"

    def takes(self, arch: str) -> bool:
        """True when binary packages of that architecture belong into its repository."""
        group = next((names for names in _ALIKE if self.arch in names), {self.arch})
        return arch == "noarch" or arch in group

    def __str__(self) -> str:
        return f"{self.os}-{self.version}-{self.arch}"


def from_os_release(text: str, machine: str) -> Chroot:
    """The chroot that the contents of an `os-release` file and `uname -m` stand for.

    A rolling distribution has no VERSION_ID; it becomes `rolling`.
    """
    fields = {}
    for line in text.splitlines():
        key, eq, value = line.partition("=")
        if eq:
            fields[key.strip()] = value.strip().strip("\"'")
    system = re.sub(r"[^A-Za-z0-9._+-]", "", fields.get("ID", "")) or "linux"
    version = re.sub(r"[^A-Za-z0-9._+]", "", fields.get("VERSION_ID", "")) or "rolling"
    return Chroot(os=system, version=version, arch=machine)
