"""What this machine has for mock: its user, the chroots' configurations, the ways to isolate."""

import contextlib
import fnmatch
import grp
import os
import platform
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from backend.builders import BuildRequest, mockconfig, reproducible
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import InfrastructureError, ProtocolError, ToolError
from backend.process import CLEAN_ENV

GROUP = "mock"
#: Present on a machine that systemd has booted.
BOOTED = Path("/run/systemd/system")
#: Machine → other architectures whose programs it runs by itself.
NATIVE = {
    "x86_64": ("x86_64_v2", "i386", "i486", "i586", "i686"),
    "aarch64": ("armv7hl",),
    "ppc64": ("ppc",),
    "s390x": ("s390",),
    "i686": ("i386", "i486", "i586"),
}
#: Files among the configurations that are no chroot.
_OTHERS = ("site-defaults", "chroot-aliases", "default")


@dataclass(frozen=True, kw_only=True)
class User:
    """Who mock runs as: never root."""

    name: str
    uid: int
    gid: int
    home: Path


def user(config: Config) -> User:
    """The daemon's own user, or for root the configured one or the group's first member.

    Raises ToolError, with the remedy, if there is none that may use mock.
    """
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        raise ToolError(
            "there is no group mock: install mock (dnf install mock), which makes it"
        ) from None
    if os.geteuid():
        entry = pwd.getpwuid(os.geteuid())
    elif config.builder_mock_user:
        entry = _named(config.builder_mock_user)
    else:
        entry = _member(group)
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    if group.gr_gid not in groups:
        raise ToolError(
            f"{entry.pw_name} is not in the group mock: usermod -aG mock {entry.pw_name},"
            " then start again"
        )
    return User(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, home=Path(entry.pw_dir))


def _named(name: str) -> pwd.struct_passwd:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ToolError(
            f"[builder] mock_user = {name}: no such user: useradd --system --create-home"
            f" --groups mock {name}"
        ) from None
    if not entry.pw_uid:
        raise ToolError("[builder] mock_user is root: mock needs an ordinary user")
    return entry


def _member(group: grp.struct_group) -> pwd.struct_passwd:
    """The first ordinary member of the group mock, or whose main group it is."""
    entries = []
    for name in group.gr_mem:
        with contextlib.suppress(KeyError):
            entries.append(pwd.getpwnam(name))
    entries += [entry for entry in pwd.getpwall() if entry.pw_gid == group.gr_gid]
    for entry in entries:
        if entry.pw_uid:
            return entry
    raise ToolError(
        "mock does not run as root, and the group mock has no member: useradd --system"
        " --create-home --groups mock copr-mock, or name a user in [builder] mock_user"
    )


def chroots(config: Config, machine: str = "") -> tuple[Chroot, ...]:
    """The chroots of the installed configurations that this machine can run, by name."""
    machine = machine or platform.machine()
    arches = {machine, *NATIVE.get(machine, ())}
    found: set[str] = set()
    for directory in _directories(config):
        with contextlib.suppress(OSError):
            found.update(path.stem for path in directory.glob("*.cfg"))
    patterns = config.builder_mock_chroots
    wanted = []
    for name in sorted(found.difference(_OTHERS)):
        if patterns and not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            continue
        with contextlib.suppress(ProtocolError):
            chroot = Chroot.parse(name)
            if chroot.arch in arches:
                wanted.append(chroot)
    return tuple(wanted)


def configuration(config: Config, chroot: Chroot) -> Path:
    """The distribution's configuration of a chroot, or the mock user's own.

    Raises InfrastructureError: whoever asks has seen that the chroot is built here, so somebody
    has just removed it.
    """
    for directory in _directories(config):
        path = directory / f"{chroot}.cfg"
        if path.is_file():
            return path
    missing = config.builder_mock_configs / f"{chroot}.cfg"
    raise InfrastructureError(
        f"chroot {chroot} cannot be built here any more: there is no {missing}: put it back, or"
        " deactivate the chroot"
    )


def _directories(config: Config) -> list[Path]:
    """As mock itself looks: the user's configurations go first."""
    directories = [config.builder_mock_configs]
    with contextlib.suppress(ToolError, KeyError):
        directories.insert(0, user(config).home / ".config" / "mock")
    return directories


def site(config: Config, request: BuildRequest) -> mockconfig.Site:
    """How one request is to be built on this machine."""
    root = os.geteuid() == 0
    return mockconfig.Site(
        include=str(configuration(config, request.chroot)),
        basedir=str(config.builder_mock_basedir),
        isolation=isolation(config, request.buildroot.isolation),
        # As root mock gets process numbers of its own, which systemd could not understand.
        lone=root or not BOOTED.is_dir(),
        slot=request.slot,
        epoch=reproducible.epoch(request.srpm) if request.reproducible else "",
    )


def isolation(config: Config, wanted: str = "") -> str:
    """How mock confines builds here."""
    return mockconfig.isolation(
        wanted,
        config.builder_mock_isolation,
        nspawn=has("systemd-nspawn"),
        systemd=BOOTED.is_dir(),
    )


def has(program: str) -> bool:
    """Whether a program is installed."""
    return shutil.which(program, path=CLEAN_ENV["PATH"]) is not None
