"""HOW untrusted programs run: bubblewrap, as a user id of their own, with nothing of the host.

What is seen inside is in `view`; here are the namespaces, the user, the limits, the filter of
system calls, and the pieces of one directory, the *area*. As root, the area is first mounted
where the build's user can reach it, in a private mount namespace: its parents stay 0700.
"""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend import disk
from backend.builders import cgroup, etc, limits, prelude, seccomp, view
from backend.builders.cgroup import Group, Nowhere, Place
from backend.builders.view import HOME, HOST, INNER_ID, Root
from backend.config import Config
from backend.exceptions import Killed, ToolError
from backend.process import CLEAN_ENV, Child, Result, find, run

#: Slots wrap so that ids stay below 61184, where systemd's dynamic users begin.
UID_RANGE = 478
#: Exit codes that mean SIGKILL, to the sandbox itself or to what it runs.
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
#: Where bubblewrap starts: its own environment, seen inside, must not name a host path.
START = Path("/")
#: Of the programs before a build's own: without a locale none of them loads a dozen files of it.
QUICK = {"PATH": CLEAN_ENV["PATH"]}

REMEDY = (
    "bubblewrap cannot make a sandbox here ({}): allow user namespaces"
    " (sysctl -w user.max_user_namespaces=10000; on Ubuntu also"
    " kernel.apparmor_restrict_unprivileged_userns=0), do not mask /proc"
    " (systemd: no ProtectKernelTunables; container: nesting or privileged), or start as root"
)

_NOTHING: Mapping[str, str] = {}

#: Where groups are made, by `[builder] cgroup`: found out once, and passed on to forked workers.
places: dict[str, Place | Nowhere] = {}
#: The strictest options with which a sandbox was seen to start here, alike: none or one entry.
strictest: list[tuple[str, ...]] = []


def groups(config: Config) -> Place | Nowhere:
    """Where the control groups of builds are made, or why there are none."""
    if config.builder_cgroup not in places:
        places[config.builder_cgroup] = cgroup.find(config.builder_cgroup)
    return places[config.builder_cgroup]


@dataclass(frozen=True, kw_only=True)
class Area:
    """The directory of one run on the host; the build's user owns it."""

    path: Path
    uid: int
    slot: int = 0

    @classmethod
    def make(cls, config: Config, workdir: Path, slot: int) -> "Area":
        """Create it inside `workdir`, with its pieces."""
        root = os.geteuid() == 0
        uid = config.builder_uid + slot % UID_RANGE if root else os.geteuid()
        area = cls(path=workdir / "area", uid=uid, slot=slot)
        for name in ("", "build", "tmp", "vartmp", "results"):
            piece = area.path / name
            piece.mkdir(mode=0o700, exist_ok=True)
            if root:
                os.chown(piece, uid, uid, follow_symlinks=False)
            # An earlier run in it, which its user cleans up after, may have closed them.
            piece.chmod(0o1777 if name in ("tmp", "vartmp") else 0o700)
        return area


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to start: pass `fds` on, they hold bubblewrap's options and small files.

    `group` limits what it uses, where there are control groups.
    """

    argv: tuple[str, ...]
    fds: tuple[int, ...]
    group: Group | None = None

    def run(self, timeout: float, limit: int = 16 * 1024**2) -> Result:
        """Run it to its end; raises Killed when somebody kills it, ToolError as `run` does."""
        result = run(
            self.argv, timeout=timeout, env=QUICK, cwd=START, pass_fds=self.fds, limit=limit
        )
        if result.code in KILLED:
            raise Killed(f"a sandboxed program was killed: {result.last_line}")
        return result

    def start(self, output: int) -> Child:
        """Start it; everything it prints goes to descriptor `output`."""
        return Child(self.argv, stdout=output, env=QUICK, cwd=START, pass_fds=self.fds)


class Sandbox:
    """Makes the command lines; finds out once how strict a sandbox this machine allows.

    `trees` are the root that is shown inside, the first on top; none: the host's own system.
    """

    def __init__(self, config: Config, trees: Sequence[Path] = ()) -> None:
        self._config = config
        self._trees = tuple(trees)

    def on(self, trees: Sequence[Path]) -> "Sandbox":
        """The same with another root."""
        return Sandbox(self._config, trees)

    @property
    def layered(self) -> bool:
        """Something is installed on top of the root: packages of strangers, perhaps."""
        return len(self._trees) > 1

    def small_shell(self) -> str:
        """The shell inside that starts fastest."""
        return "/usr/bin/dash" if self._root().source("usr/bin/dash") else "/bin/sh"

    def preflight(self, workdir: Path) -> None:
        """Try exactly the flags of a build; raises ToolError with the remedy."""
        error = self._try(workdir)
        if error and isinstance(groups(self._config), Place):
            places[self._config.builder_cgroup] = Nowhere(reason=f"it cannot be entered ({error})")
            error = self._try(workdir)
        if error:
            raise ToolError(REMEDY.format(error))
        cgroup.sweep(groups(self._config), self._config.statedir)

    def _try(self, workdir: Path) -> str:
        error = ""
        for strict in (("--disable-userns",), ()):
            strictest[:] = [strict]
            area = Area.make(self._config, workdir, 0)
            with self.command(area, ["/bin/sh", "-c", ": >/dev/null </proc/self/stat"]) as command:
                result = command.run(30)
            if result.code == 0:
                return ""
            error = error or result.last_line
        strictest.clear()
        return error

    @contextlib.contextmanager
    def command(
        self,
        area: Area,
        argv: Sequence[str],
        *,
        binds: Sequence[str] = (),
        data: Mapping[str, str] = _NOTHING,
        net: bool = False,
    ) -> Iterator[Command]:
        """The command line that runs `argv` inside; `binds` are bubblewrap options with `{}`
        for the area, `data` are small files. Its control group is removed, with what is left in
        it, at the end."""
        root = os.geteuid() == 0
        place = prelude.mount_point() if root else str(area.path)
        if root and self._trees:  # they are mounted there
            (area.path / "root").mkdir(mode=0o700, exist_ok=True)
        with descriptors() as fds, grouped(self._config, area) as group:
            shown = etc.show(self._config, self._root(), net=net, area=area.path, slot=area.slot)
            options: list[view.Word] = [*self._options(net), *shown, *binds]
            for path, text in data.items():
                options += ["--perms", "444", "--file", text.encode(), path]
            options += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]
            words = b"".join(word(option, place, fds) + b"\0" for option in options)
            first = prelude.limit_inside(self._config, group, self.small_shell())
            inner = [find("bwrap"), "--args", str(memory(fds, words)), "--", *first, *argv]
            outer = prelude.enter(area.path, area.uid, place if root else "", self._trees, group)
            yield Command(
                argv=(*outer, *prelude.limit(self._config, group), *inner),
                fds=tuple(fds),
                group=group,
            )

    def _options(self, net: bool) -> list[view.Word]:
        strict = strictest[0] if strictest else ("--disable-userns",)
        root = self._root()
        shell = view.other_shell(root) if self._config.builder_macros else ""
        options = [*_isolation(net), *strict, *view.system(root, shell=shell)]
        filter_ = seccomp.program(namespaces=bool(strict))
        return [*options, "--seccomp", filter_] if filter_ else options

    def _root(self) -> Root:
        if not self._trees:
            return HOST
        shown = "{}/root" if os.geteuid() == 0 else str(self._trees[0])
        return Root(trees=self._trees, shown=shown)


@contextlib.contextmanager
def descriptors() -> Iterator[list[int]]:
    """A list whose descriptors are closed at the end."""
    fds: list[int] = []
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


@contextlib.contextmanager
def grouped(config: Config, area: Area) -> Iterator[Group | None]:
    """A control group for one run, None where there are none. What is left in it is killed."""
    where = groups(config)
    if isinstance(where, Nowhere):
        yield None
        return
    group = Group(
        where,
        cgroup.name(config.statedir, area.slot),
        memory=limits.memory(config),
        processes=config.builder_max_processes,
    )
    try:
        group.make()
        yield group
    finally:
        group.remove()


def environment() -> Mapping[str, str]:
    """The environment inside."""
    own = {"HOME": HOME, "USER": "builder", "LOGNAME": "builder", "SHELL": "/bin/bash"}
    return {**CLEAN_ENV, **own}


def word(word: view.Word, place: str, fds: list[int]) -> bytes:
    """One option as bubblewrap reads it: `{}` is the area's place, bytes lie in a descriptor."""
    if isinstance(word, bytes):
        return str(memory(fds, word)).encode()
    return os.fsencode(place + word[2:] if word.startswith("{}") else word)


def _isolation(net: bool) -> list[view.Word]:
    flags = ["user", "pid", "ipc", "uts", "cgroup-try", *([] if net else ["net"])]
    options: list[view.Word] = [f"--unshare-{flag}" for flag in flags]
    options += ["--uid", str(INNER_ID), "--gid", str(INNER_ID), "--hostname", "builder"]
    options += ["--die-with-parent", "--new-session", "--clearenv"]
    # With an init of its own bubblewrap returns before daemons of the build are dead, and
    # they could still change results. As pid 1 the command takes everything with it first.
    options += ["--as-pid-1"]
    for name, value in environment().items():
        options += ["--setenv", name, value]
    return options


def memory(fds: list[int], data: bytes) -> int:
    """The number of a new descriptor that has the data; it is added to `fds`."""
    fd = os.memfd_create("sandbox")
    fds.append(fd)
    disk.append(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
