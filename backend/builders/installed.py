"""Which packages a build finds installed: the list that is kept beside its results.

It has mock's name and its columns: name-[epoch:]version-release.architecture, build time, size,
identity (MD5 of header and payload), and a word. Where the system is a Debian, the first column
is name_version_architecture, as its files are called.
"""

import contextlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from backend.builders import LOGS
from backend.builders.sandbox import START, Area, Sandbox
from backend.builders.view import HOME
from backend.exceptions import ToolError
from backend.process import Result, find, run

NAME = "installed_pkgs.log"
TIMEOUT = 120.0
MOST = 8 * 1024**2
_ROOM = 16 * 1024**2
_ROOMS = (HOME, "/tmp", "/var/tmp")  # noqa: S108
#: So many lists are kept for the next build.
_KEEP = 4
#: They change with every package that is installed or removed.
_DATABASES = """
var/lib/dpkg/status var/lib/rpm usr/lib/sysimage/rpm
var/lib/rpm/rpmdb.sqlite usr/lib/sysimage/rpm/rpmdb.sqlite
var/lib/rpm/rpmdb.sqlite-wal usr/lib/sysimage/rpm/rpmdb.sqlite-wal
var/lib/rpm/Packages var/lib/rpm/Packages.db
"""
_SCRIPT = r"""
export LC_ALL=C
list=$(rpm -qa --qf '%{NEVRA} %{BUILDTIME} %{SIZE} %{PKGID} installed\n' 2>/dev/null |
  grep -v '^gpg-pubkey-')
if [ -z "$list" ] && command -v dpkg-query >/dev/null; then
  list=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}_${Version}_${Architecture} - ${Installed-Size} - installed\n' |
    sed -n 's/^.i. *//p')
fi
[ -z "$list" ] || printf '%s\n' "$list" | sort
"""  # noqa: E501

_Stamp = tuple[object, ...]


class Lists:
    """Makes the lists, and keeps the last of them until packages change."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, ...], tuple[_Stamp, bytes]] = {}

    def prepare(self) -> None:
        """Have that of the host's own system, for every worker that is forked from now on."""
        with contextlib.suppress(ToolError):  # a build will say why there is none
            self._keep((), _stamp((Path("/"),)), _on_host().stdout)

    def write(self, sandbox: Sandbox, trees: Sequence[Path], area: Area, workdir: Path) -> str:
        """Leave the list in `workdir/logs`. Returns why there is none, else nothing.

        `trees` are the root of the build, none for the host's own system, `sandbox` shows them:
        in a tree of strangers, rpm runs there.
        """
        try:
            text = self._list(sandbox, tuple(trees), area)
        except ToolError as error:
            return f"the list of installed packages could not be made: {error}"
        if not text:
            return "no list of installed packages: neither rpm nor dpkg knows one"
        logs = workdir / LOGS
        logs.mkdir(mode=0o700, exist_ok=True)
        (logs / NAME).write_bytes(text)
        return ""

    def _list(self, sandbox: Sandbox, trees: tuple[Path, ...], area: Area) -> bytes:
        stamp = _stamp(trees or (Path("/"),))
        known = self._known.pop(trees, None)
        if known and known[0] == stamp:
            self._known[trees] = known  # the last one again
            return zlib.decompress(known[1])
        text = _asked(sandbox, trees, area).stdout
        self._keep(trees, stamp, text)
        return text

    def _keep(self, trees: tuple[Path, ...], stamp: _Stamp, text: bytes) -> None:
        self._known[trees] = (stamp, zlib.compress(text))
        while len(self._known) > _KEEP:
            del self._known[next(iter(self._known))]


def _on_host() -> Result:
    """Outside of a sandbox: not all of the host's databases are shown to builds."""
    return run([find("sh"), "-c", _SCRIPT], timeout=TIMEOUT, cwd=START, limit=MOST)


def _asked(sandbox: Sandbox, trees: tuple[Path, ...], area: Area) -> Result:
    if not trees:
        return _on_host()
    # Nobody watches the disk meanwhile: there is nowhere to write.
    binds = [word for place in _ROOMS for word in ("--size", str(_ROOM), "--tmpfs", place)]
    with sandbox.command(area, ["/bin/sh", "-c", _SCRIPT], binds=binds) as command:
        return command.run(TIMEOUT, limit=MOST)


def _stamp(trees: tuple[Path, ...]) -> _Stamp:
    found: list[object] = []
    for tree in trees:
        for name in _DATABASES.split():
            with contextlib.suppress(OSError):
                info = os.lstat(tree / name)
                found.append((str(tree / name), info.st_mtime_ns, info.st_ino, info.st_size))
    return tuple(found)
