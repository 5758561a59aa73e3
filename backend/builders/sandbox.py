"""HOW untrusted programs run: bubblewrap, as a user id of their own, with nothing of the host.

Inside there is `/usr` of the host, an allowlist of `/etc`, fresh `/proc` and `/dev`, no
network, and the pieces of one directory, the *area*. As root, the area is first mounted
where the build's user can reach it, in a private mount namespace: its parents stay 0700.
"""

import contextlib
import os
import resource
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.config import Config
from backend.exceptions import Killed, ToolError
from backend.process import CLEAN_ENV, Child, Result, find, run

#: Slots wrap so that ids stay below 61184, where systemd's dynamic users begin.
UID_RANGE = 478
INNER_ID = 1000
#: Exit codes that mean SIGKILL, to the sandbox itself or to what it runs.
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
HOME = "/builddir"
#: Where bubblewrap starts: its own environment, seen inside, must not name a host path.
ROOT = Path("/")

#: Entries of /etc that tools need and that hold no secrets; glob patterns.
ETC = """
alternatives bash.bashrc bindresvport.blacklist ca-certificates* crypto-policies
debian_version dictionaries-common dpkg emacs ethertypes fedora-release fonts gai.conf ghc groff
gtk-2.0 gtk-3.0 host.conf ImageMagick-* init.d inputrc issue java java-* jvm* ld.so.cache ld.so.conf
ld.so.conf.d locale.alias locale.conf locale.gen localtime login.defs lsb-release lynx magic
magic.mime man_db.conf manpath.config maven mime.types mke2fs.conf netconfig networks
ocamlfind.conf os-release papersize perl php pki/ca-trust pki/tls/cert.pem pki/tls/certs profile
protocols python* R redhat-release rpc rpm rpmlint services sgml shells skel ssl/certs
ssl/openssl.cnf system-release terminfo texmf timezone X11 xattr.conf xdg xml
"""

#: State of installed tools, not secret: TeX formats, XML catalogs, the package list.
STATE = """
/sys/devices/system/cpu /var/cache/fontconfig /var/cache/ldconfig /var/lib/dpkg /var/lib/ghc
/var/lib/sgml-base /var/lib/texmf /var/lib/xml-core
"""

EMPTY = "/boot /home /media /mnt /opt /root /srv /var/cache /var/lib /var/log /var/spool"

NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"

#: As root: mount the area, and a /proc that no container manager has masked.
PREPARE = 'mount --bind "$1" "$2" && { mount -t proc proc /proc 2>/dev/null || :; } && shift 2'

REMEDY = (
    "bubblewrap cannot make a sandbox here ({}): allow user namespaces"
    " (sysctl -w user.max_user_namespaces=10000; on Ubuntu also"
    " kernel.apparmor_restrict_unprivileged_userns=0), do not mask /proc"
    " (systemd: no ProtectKernelTunables; container: nesting or privileged), or start as root"
)


@dataclass(frozen=True, kw_only=True)
class Area:
    """The directory of one run on the host; the build's user owns it."""

    path: Path
    uid: int

    @classmethod
    def make(cls, config: Config, workdir: Path, slot: int) -> "Area":
        """Create it inside `workdir`, with its pieces."""
        root = os.geteuid() == 0
        uid = config.builder_uid + slot % UID_RANGE if root else os.geteuid()
        area = cls(path=workdir / "area", uid=uid)
        for name in ("", "build", "tmp", "vartmp", "results"):
            piece = area.path / name
            piece.mkdir(mode=0o700, exist_ok=True)
            if root:
                os.chown(piece, uid, uid, follow_symlinks=False)
            if name in ("tmp", "vartmp"):
                piece.chmod(0o1777)
        return area


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to start: pass `fds` on, they hold bubblewrap's options and small files."""

    argv: tuple[str, ...]
    fds: tuple[int, ...]

    def run(self, timeout: float, limit: int = 16 * 1024**2) -> Result:
        """Run it to its end; raises Killed when somebody kills it, ToolError as `run` does."""
        result = run(self.argv, timeout=timeout, cwd=ROOT, pass_fds=self.fds, limit=limit)
        if result.code in KILLED:
            raise Killed(f"a sandboxed program was killed: {result.last_line}")
        return result

    def start(self, output: int) -> Child:
        """Start it; everything it prints goes to descriptor `output`."""
        return Child(self.argv, stdout=output, cwd=ROOT, pass_fds=self.fds)


class Sandbox:
    """Makes the command lines; finds out once how strict a sandbox this machine allows."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._strict: tuple[str, ...] | None = None

    def preflight(self, workdir: Path) -> None:
        """Try exactly the flags of a build; raises ToolError with the remedy."""
        error = ""
        for strict in (("--disable-userns",), ()):
            self._strict = strict
            area = Area.make(self._config, workdir, 0)
            with self.command(area, ["/bin/sh", "-c", ": >/dev/null </proc/self/stat"]) as command:
                result = command.run(30)
            if result.code == 0:
                return
            error = error or result.last_line
        self._strict = None
        raise ToolError(REMEDY.format(error))

    @contextlib.contextmanager
    def command(
        self, area: Area, argv: Sequence[str], *, binds: Sequence[str] = (), net: bool = False
    ) -> Iterator[Command]:
        """The command line that runs `argv` inside; `binds` are bubblewrap options with `{}`
        for the area."""
        strict = ("--disable-userns",) if self._strict is None else self._strict
        root = os.geteuid() == 0
        place = _mount_point() if root else str(area.path)
        fds: list[int] = []
        try:
            options = [*_isolation(net), *strict, *_system(), *_etc(fds, net), *binds]
            options = [place + text[2:] if text.startswith("{}") else text for text in options]
            options += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]
            data = b"".join(os.fsencode(option) + b"\0" for option in options)
            outer = _as_user(area, place) if root else []
            yield Command(
                argv=(
                    *outer,
                    *self._limits(),
                    *(find("bwrap"), "--args", str(_memory(fds, data)), "--", *argv),
                ),
                fds=tuple(fds),
            )
        finally:
            for fd in fds:
                os.close(fd)

    def _limits(self) -> list[str]:
        wanted = {
            "nproc": (resource.RLIMIT_NPROC, self._config.builder_max_processes),
            "as": (resource.RLIMIT_AS, self._config.builder_max_memory),
            "fsize": (resource.RLIMIT_FSIZE, self._config.builder_max_file),
            "nofile": (resource.RLIMIT_NOFILE, 65536),
            "core": (resource.RLIMIT_CORE, 0),
        }
        argv = [find("prlimit")]
        for name, (number, limit) in wanted.items():
            hard = resource.getrlimit(number)[1]
            most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            soft = min(most, 4096) if name == "nofile" else most
            argv.append(f"--{name}={soft}:{most}")
        return [*argv, "--"]


def environment() -> Mapping[str, str]:
    """The environment inside."""
    own = {"HOME": HOME, "USER": "builder", "LOGNAME": "builder", "SHELL": "/bin/bash"}
    return {**CLEAN_ENV, **own}


def _mount_point() -> str:
    for place in ("/mnt", "/media", "/srv", "/opt"):
        if Path(place).is_dir():
            return place
    raise ToolError("no /mnt, /media, /srv or /opt to mount the build area on: mkdir /mnt")


def _as_user(area: Area, place: str) -> list[str]:
    """Root only: private mounts, then never root again (or uid 0 inside would be root)."""
    user = str(area.uid)
    # The parent-death signal is set again: a change of credentials clears it.
    return [
        *(find("unshare"), "--mount", "--propagation", "private", "--"),
        *("/bin/sh", "-c", PREPARE + ' && exec "$@"', "sh", str(area.path), place),
        *(find("setpriv"), "--reuid", user, "--regid", user, "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--pdeathsig", "KILL", "--"),
    ]


def _isolation(net: bool) -> list[str]:
    flags = ["user", "pid", "ipc", "uts", "cgroup-try", *([] if net else ["net"])]
    options = [f"--unshare-{flag}" for flag in flags]
    options += ["--uid", str(INNER_ID), "--gid", str(INNER_ID), "--hostname", "builder"]
    options += ["--die-with-parent", "--new-session", "--clearenv"]
    # With an init of its own bubblewrap returns before daemons of the build are dead, and
    # they could still change results. As pid 1 the command takes everything with it first.
    options += ["--as-pid-1"]
    for name, value in environment().items():
        options += ["--setenv", name, value]
    return options


def _system() -> list[str]:
    options = ["--ro-bind", "/usr", "/usr"]
    for path in [*sorted(Path("/").glob("lib*")), Path("/bin"), Path("/sbin")]:
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    options += ["--proc", "/proc", "--dev", "/dev", "--size", str(1024**3), "--tmpfs", "/dev/shm"]  # noqa: S108
    for path_text in EMPTY.split():
        options += ["--dir", path_text]
    for path_text in STATE.split():
        options += ["--ro-bind-try", path_text, path_text]
    options += ["--size", str(64 * 1024**2), "--tmpfs", "/run", "--symlink", "../run", "/var/run"]
    options += ["--dir", "/run/lock", "--symlink", "../run/lock", "/var/lock"]
    options += ["--bind", "{}/tmp", "/tmp", "--bind", "{}/vartmp", "/var/tmp"]  # noqa: S108
    return [*options, "--bind", "{}/build", HOME]


def _etc(fds: list[int], net: bool) -> list[str]:
    options: list[str] = []
    for pattern in ETC.split():
        for path in sorted(Path("/etc").glob(pattern)):
            target = str(path.readlink()) if path.is_symlink() else ""
            if "/usr/" in target or target.startswith("../usr"):
                options += ["--symlink", target, str(path)]
            elif path.exists():
                options += ["--ro-bind-try", str(path), str(path)]
    options += ["--symlink", "../proc/self/mounts", "/etc/mtab"]
    files = {
        "passwd": _accounts("passwd", f"builder:x:{INNER_ID}:{INNER_ID}::{HOME}:/bin/bash\n"),
        "group": _accounts("group", f"builder:x:{INNER_ID}:\n"),
        "nsswitch.conf": NSSWITCH,
        "hostname": "builder\n",
        "hosts": "127.0.0.1 localhost builder\n::1 localhost\n",
        "resolv.conf": _text(Path("/etc/resolv.conf")) if net else "",
    }
    for name, text in files.items():
        options += ["--ro-bind-data", str(_memory(fds, text.encode())), f"/etc/{name}"]
    return options


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _accounts(name: str, own: str) -> str:
    """The host's system accounts, which carry no secrets, and the builder; no people."""
    lines = []
    for line in _text(Path("/etc", name)).splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdigit() and not 1000 <= int(fields[2]) < 65534:
            lines.append(":".join([fields[0], "x", *fields[2:]]))
    return "".join(line + "\n" for line in lines) + own


def _memory(fds: list[int], data: bytes) -> int:
    fd = os.memfd_create("sandbox")
    fds.append(fd)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
