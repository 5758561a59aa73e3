"""The root's own dnf in a sandbox: it installs into the upper directory of an overlay on the root.

Packages of strangers run their scriptlets here: root is uid 0 of a user namespace whose ids
nobody else has, and packages are downloaded with network, but installed without.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.builders import BuildRequest, Buildroot, prelude, sandbox, seccomp, stream
from backend.builders.sandbox import Area, Command
from backend.builders.stream import Log
from backend.builders.workbench import Workbench
from backend.config import Config
from backend.exceptions import BuildError, InfrastructureError, Killed, ToolError
from backend.process import CLEAN_ENV, Child, find

#: Host ids of the users inside: 65536 of them, which no system uses.
SHIFT = 0x70000000
COUNT = 65536
_CAPABILITIES = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETPCAP SETUID SETFCAP SYS_CHROOT"
_REPO_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_AWAY = re.compile(r"Failed to download metadata|Curl error|Cannot download|No more mirrors")
_MISSING = re.compile(r"No matching package|Unable to find a match|No match for|nothing provides")
_TELLS = re.compile(
    r"^(?:Error:|No matching package to install|Unable to find a match|No match for"
    r"|\s*(?:- )?nothing provides|\s*Problem)",
    re.IGNORECASE,
)

_OVERLAY = (
    'mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4" || exit 92; shift 4;'
    ' exec "$@"'
)
#: $1: download or install, $2: the distribution's version; /run/copr has the rest.
_SCRIPT = r"""
echo "Dependencies, $1"
set -e
d="dnf -y --nogpgcheck --disableplugin=local --releasever=$2 --setopt=install_weak_deps=False
  --setopt=best=True --setopt=keepcache=True
  --setopt=cachedir=/var/cache/copr-dnf --setopt=reposdir=/etc/yum.repos.d,/run/copr/repos
  --setopt=skip_if_unavailable=False"
if [ "$1" = download ]; then d="$d --refresh --downloadonly"; else d="$d -C"; fi
while read -r what module; do [ "$what" ] && $d module "$what" "$module"; done </run/copr/modules
if dnf builddep --help >/dev/null 2>&1; then
  $d builddep --spec /run/copr/needs.spec
else
  sed -n 's/^BuildRequires: //p; s/%%/%/g' /run/copr/needs.spec |
    while read -r one; do set -- "$@" "$one"; done
fi
[ -s /run/copr/packages ] && xargs -d '\n' $d install -- </run/copr/packages
[ "$1" = download ] || rm -rf /var/cache/copr-dnf
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Everything that decides what is installed."""

    tree: str
    requires: tuple[str, ...]
    root: Buildroot
    metadata: tuple[str, ...]

    @property
    def key(self) -> str:
        """The same for the same layer."""
        parts: list[object] = [
            self.tree,
            sorted(self.requires),
            sorted(self.root.packages),
            self.metadata,
        ]
        parts += [list(self.root.modules), [sorted(map(str, r.items())) for r in self.root.repos]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Job:
    """For which build, in which root, and where the output goes."""

    config: Config
    bench: Workbench
    area: Area
    request: BuildRequest
    log: Log


def run(job: Job, need: Need, new: Path, step: str) -> None:
    """Download or install into `new`, which has the overlay's directories `upper` and `work`.

    Raises BuildError when something cannot be had, Killed when a repository is away.
    """
    log = job.log
    begin = len(log.tail)
    with _users() as pid, _command(job, need, new, f"{pid} {step}") as command:
        area = dataclasses.replace(job.area, path=new)  # that is where it writes
        code = stream.supervise(job.config, area, command, log, job.request)
    if code == 0:
        return
    lines = [
        stream.plain(x) for x in bytes(log.tail[begin:]).decode("utf-8", "replace").split("\n")
    ]
    told = [line.strip() for line in lines if _TELLS.match(line)] or lines[-3:]
    reason = " ".join(line for line in told[:3] if line)
    missing = any(_MISSING.search(line) for line in lines)
    if not missing and any(_AWAY.search(line) for line in lines):
        raise Killed(f"dependencies: a repository is away: {reason}")
    if code in sandbox.KILLED:
        raise Killed("dependencies: dnf was killed")
    raise BuildError(f"dependencies: {reason}")


@contextlib.contextmanager
def _users() -> Iterator[int]:
    """A process in a new user namespace, for others to join: its root is nobody outside."""
    read, write = os.pipe()
    stdin, keep = os.pipe()
    try:
        argv = [find("unshare"), "--user", "--", find("sh"), "-c", "echo x; read x"]
        with Child(argv, stdin=stdin, stdout=write) as child:
            os.close(write)
            write = -1
            if os.read(read, 2) != b"x\n":
                raise ToolError("no user namespace can be made here: allow them")
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{child.pid}/{name}").write_text(f"0 {SHIFT} {COUNT}")
            yield child.pid
            child.signal(signal.SIGKILL)
    finally:
        for fd in (read, write, stdin, keep):
            if fd >= 0:
                os.close(fd)


@contextlib.contextmanager
def _command(job: Job, need: Need, new: Path, what: str) -> Iterator[Command]:
    pid, step = what.split()
    paths = [str(job.bench.tree), str(new / "upper"), str(new / "work")]
    if any(mark in path for path in paths for mark in ",:\\"):
        raise InfrastructureError(f"{paths[1]}: no layer can be in a path with a comma or colon")
    place = prelude.mount_point()
    with sandbox.descriptors() as fds, sandbox.grouped(job.config, job.area) as group:
        options = _options(need, place, step)
        words = b"".join(sandbox.word(option, place, fds) + b"\0" for option in options)
        argv = [find("unshare"), "--mount", "--propagation", "private", "--"]
        argv += [find("sh"), "-c", prelude.join(group) + _OVERLAY, "sh", *paths, place]
        argv += [find("nsenter"), f"--user=/proc/{pid}/ns/user", "--", find("setpriv")]
        argv += ["--no-new-privs", "--pdeathsig", "KILL", "--", find("bwrap"), "--args"]
        argv += [str(sandbox.memory(fds, words)), "--", "/bin/sh", "-c", _SCRIPT, "sh", step]
        argv.append(job.request.chroot.version)
        yield Command(argv=tuple(argv), fds=tuple(fds), group=group)


def _options(need: Need, place: str, step: str) -> list[str | bytes]:
    """bubblewrap's: all of the overlay, writable, and nothing else; network to download only."""
    options: list[str | bytes] = []
    for kind in ("pid", "ipc", "uts", "cgroup-try", *(["net"] if step == "install" else [])):
        options.append(f"--unshare-{kind}")
    options += ["--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"]
    for name, value in {**CLEAN_ENV, "HOME": "/root"}.items():
        options += ["--setenv", name, value]
    options += ["--bind", place, "/", "--proc", "/proc", "--dev", "/dev"]
    options += ["--tmpfs", "/tmp", "--tmpfs", "/run", "--dir", "/run/copr/repos"]  # noqa: S108
    for name, text in _files(need).items():
        options += ["--file", text.encode(), f"/run/copr/{name}"]
    options += ["--cap-drop", "ALL"]
    for name in _CAPABILITIES.split():
        options += ["--cap-add", f"CAP_{name}"]
    filter_ = seccomp.program()
    options += ["--seccomp", filter_] if filter_ else []
    if step == "download":
        resolver = Path("/etc/resolv.conf")
        text = resolver.read_text(encoding="utf-8") if resolver.exists() else ""
        options += ["--ro-bind-data", text.encode(), "/etc/resolv.conf"]
    return options


def _files(need: Need) -> dict[str, str]:
    """What the script reads; nothing of it can be an option or a second line."""
    for word in (*need.root.packages, *need.root.modules, *need.requires):
        if "\n" in word or word.startswith("-"):
            raise BuildError(f"dependencies: refused {word!a}")
    files = {
        "packages": "".join(f"{name}\n" for name in need.root.packages),
        "modules": "".join(f"{line}\n" for line in need.root.modules),
        "needs.spec": _spec(need.requires),
    }
    for repo in need.root.repos:
        name = str(repo.get("id"))
        if not _REPO_ID.fullmatch(name):
            raise BuildError(f"dependencies: refused the repository {name!a}")
        lines = [f"[{name}]", "gpgcheck=0", "metadata_expire=0", "cost=1"]
        for key in ("name", "baseurl", "priority", "module_hotfixes"):
            if repo.get(key) not in (None, ""):
                value = repo[key]
                text = str(int(value)) if isinstance(value, bool) else str(value)
                lines.append(f"{key}={' '.join(text.split())}")
        files[f"repos/{name}.repo"] = "\n".join(lines) + "\n"
    return files


def _spec(requires: Sequence[str]) -> str:
    head = "Name: needs\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n"
    wanted = "".join(f"BuildRequires: {one.replace('%', '%%')}\n" for one in requires)
    return f"{head}{wanted}%description\nx\n"
