"""Builds an attack for real, and compares the machine before and after."""

import contextlib
import os
import re
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from backend import config
from backend.builders import Builder, BuildRequest, sandbox
from backend.builders.cgroup import Place
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.exceptions import BuildError, Killed
from backend.hosts import connect
from backend.processid import ProcessId
from tests.hostile import attacks
from tests.hostile.attack import GREEN, KILLED, LIMITS, Attack

#: Of this process alone: other builds on the machine have other users, those of other processes
#: of the same test run in any case.
UID = 60800 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8 * 40 + os.getpid() % 40
LEFT = "hostile-left-behind"


class Log:
    """A monitor that keeps what the build says."""

    def __init__(self) -> None:
        self.data = b""
        self.read, self.write = os.pipe()

    def output(self, data: bytes) -> None:
        self.data += data

    def wakeup_fd(self) -> int:
        return self.read

    def check(self) -> None:
        return

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


class Arena:
    """One builder with tight limits, and a directory for everything; or that of a host.

    `empty` tells that nothing of a build is left where it was.
    """

    def __init__(self, top: Path, more: str = "", host: str = "") -> None:
        self.top = top
        path = top / "copr-be.conf"
        path.write_text(f"[backend]\nstatedir={top}/state\n[builder]\nuid={UID}\n{LIMITS}{more}\n")
        self.config = config.load(path)
        local = RpmbuildBuilder(self.config)
        self.builder: Builder = connect(host, self.config) if host else local
        self.builder.preflight()
        self.about = f"on {host}" if host else local.describe()
        self.grouped = isinstance(sandbox.groups(self.config), Place)
        self.empty: Callable[[], bool] = lambda: True

    def source(self, attack: Attack) -> Path:
        """Its source package."""
        where = Path(tempfile.mkdtemp(dir=self.top))
        text = attacks.spec(attack).replace("ABSTRACT", repr([self.abstract, *self.sockets()]))
        ours = [pid for pid in (os.getpid(), os.getppid()) if pid > 1]  # inside there is a 1, too
        text = text.replace("PIDS", repr(ours))
        (where / "x.spec").write_text(text)
        subprocess.run(
            ["rpmbuild", "-bs", "--nodeps", "--define", f"_topdir {where}", where / "x.spec"],
            check=True,
            capture_output=True,
        )
        return next((where / "SRPMS").iterdir())

    @property
    def abstract(self) -> str:
        return f"\0hostile-{os.getpid()}"

    def sockets(self) -> list[str]:
        """Unix sockets of the machine."""
        paths = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
        return sorted({path for path in paths if path.startswith("/") and len(path) < 100})[:20]

    def build(self, attack: Attack) -> tuple[str, str, float]:
        """How it ended (GREEN, KILLED, or the error), its log, and seconds."""
        srpm = self.source(attack)
        work = Path(tempfile.mkdtemp(dir=self.top))
        log = Log()
        began = time.monotonic()
        request = BuildRequest(
            srpm=srpm,
            chroot=self.builder.chroots()[0],
            workdir=work,
            slot=0,
            timeout=attack.timeout,
            stall_timeout=attack.stall,
            max_log=self.config.builder_max_log,
        )
        try:
            with listening(self.abstract):
                self.builder.build(request, log)
            end = GREEN
        except BuildError as error:
            end = str(error)
        except Killed as error:
            end = f"{KILLED} {error}"
        finally:
            self.builder.cleanup(work, 0)
            log.close()
        if work.exists() or not rested(self.empty):
            end += f" LEFT {work}"
        return end, log.data.decode("utf-8", "replace"), time.monotonic() - began


@contextlib.contextmanager
def listening(name: str) -> Iterator[None]:
    """An abstract socket that no build may reach."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        yield


def judge(attack: Attack, end: str, log: str, *, grouped: bool) -> list[str]:
    """What is wrong with how it ended; `grouped`: there are control groups."""
    wrong = []
    expect = attack.expect if grouped else attack.alone or attack.expect
    if not (re.search(expect, end) if expect else end == GREEN):
        wrong.append(f"ended with {end!r}, not {expect or 'green'!r}")
    said = [line for line in log.splitlines() if not line.startswith("+")]
    wrong += [f"does not say {text}" for text in attack.says if not any(text in x for x in said)]
    wrong += [line for line in said if any(line.startswith(text) for text in attack.never)]
    if "\033" in end:
        wrong.append("the error has terminal sequences")
    return wrong


def at_rest() -> dict[str, object]:
    """The machine when the programs of the last build have gone: killed, they need a moment."""
    deadline = time.monotonic() + 30
    while (found := machine())["programs"] and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    return found


def rested(fact: Callable[[], bool]) -> bool:
    """It becomes true within a while."""
    deadline = time.monotonic() + 30
    while not fact() and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    return fact()


def own_groups() -> set[str]:
    """Control groups of this process's builds; those of others come and go meanwhile."""
    found: set[str] = set()
    for place in sandbox.places.values():
        for parent in place.parents.values() if isinstance(place, Place) else ():
            found |= {name for name in os.listdir(parent) if name.endswith(f"-{os.getpid()}-0")}  # noqa: PTH208
    return found


def machine() -> dict[str, object]:
    """What must be the same before and after: mounts, programs, groups, shared memory, keys."""
    programs = set()
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if ProcessId.of(int(entry.name)) is None:
                continue  # a zombie
            words = (entry / "cmdline").read_bytes()
            if (os.geteuid() == 0 and entry.stat().st_uid == UID) or LEFT.encode() in words:
                programs.add(int(entry.name))
    keys = Path("/proc/keys")
    found = keys.read_text().splitlines() if keys.exists() else []
    return {
        "mounts": [line for line in mounts if line.split()[4].startswith(("/mnt", "/media"))],
        "programs": programs,
        "groups": own_groups(),
        "shared memory": [
            line.split()[0]
            for line in Path("/proc/sysvipc/shm").read_text().splitlines()
            if line.split()[0] == str(0x4C454654)
        ],
        "keys": {line.split()[-2] for line in found if " left" in line},
        "core pattern": Path("/proc/sys/kernel/core_pattern").read_text(),
    }
