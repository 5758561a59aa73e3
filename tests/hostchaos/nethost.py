"""A host in namespaces of its own (network, pids, mounts), with a real sshd."""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.integration.sshd import CONFIG, make_key
from tests.procs import stat

#: What the agent keeps beside the builds of the moment.
KEPT = ("agent", "room", "runs", "name-*")
#: In the command line of agents, guards and builders.
AGENT = "exec(bytes.fromhex("
#: The first process of a host: starts sshd at each line that it reads, and reaps orphans.
INIT = 'while read -r line; do "$0" -f "$1" -E "$2"; done'


Processes = dict[int, tuple[int, str, str]]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def until(fact: Callable[[], object], seconds: float) -> bool:
    """True as soon as it holds, False after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, AssertionError):
            if fact():
                return True
        select.select([], [], [], 0.1)
    return False


def processes(*, titles: bool = True) -> Processes:
    """pid → parent, state, command line (which takes most of the time)."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            fields = stat(int(entry.name))
            title = (entry / "cmdline").read_bytes() if titles else b""
            text = title.replace(b"\0", b" ").decode(errors="replace")
            found[int(entry.name)] = (int(fields[1]), fields[0], text)
    return found


class NetHost:
    """One host. `boot` and `power_off`; the disk stays."""

    def __init__(self, top: Path, key: Path, number: int) -> None:
        self.top, self.number = top / f"host{number}", number
        self.net = f"hc{os.getpid()}h{number}"
        place = f"10.{200 + os.getpid() // 250 % 50}.{os.getpid() % 250}"
        self.here, self.name = f"{place}.{4 * number + 1}", f"{place}.{4 * number + 2}"
        self.where = f"root@{self.name}"  # its name in the pool
        self.top.mkdir()
        make_key(self.top / "host_key")
        fields = {"port": 22, "address": self.name, "top": self.top, "key": key}
        (self.top / "config").write_text(CONFIG.format(**fields))
        self.known = f"{self.name} {(self.top / 'host_key.pub').read_text()}"
        self.first = 0
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        ip("netns", "add", self.net)
        ip("link", "add", self.net, "type", "veth", "peer", "name", "eth0", "netns", self.net)
        ip("addr", "add", f"{self.here}/30", "dev", self.net)
        ip("-n", self.net, "addr", "add", f"{self.name}/30", "dev", "eth0")
        for link in (("lo",), ("eth0",)):
            ip("-n", self.net, "link", "set", *link, "up")
        ip("link", "set", self.net, "up")

    def remove(self) -> None:
        self.power_off()
        for words in (("link", "del", self.net), ("netns", "del", self.net)):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip(*words)

    def boot(self) -> None:
        sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        assert sshd
        argv = ["nsenter", f"--net=/run/netns/{self.net}", "unshare", "--pid", "--mount", "--fork",
                "--kill-child", "--mount-proc", "bash", "-c", INIT, sshd,
                str(self.top / "config"), str(self.top / "log")]  # fmt: skip
        with (self.top / "init.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log)
        self.listen()

    def power_off(self) -> None:
        """Everything dies in the same moment."""
        if self._process:
            self.tree()  # tells the first
            if self.first:
                os.kill(self.first, signal.SIGKILL)
            self._process.kill()
            self._process.communicate()
            self._process = None
            until(lambda: self.first not in processes(), 10)

    @property
    def outside(self) -> int:
        """The process here that the host hangs on."""
        return self._process.pid if self._process else 0

    def listen(self) -> None:
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def cut(self) -> None:
        ip("-n", self.net, "link", "set", "eth0", "down")

    def mend(self) -> None:
        ip("-n", self.net, "link", "set", "eth0", "up")

    def tree(self, every: Processes | None = None) -> dict[int, tuple[int, str]]:
        """All its living processes but the first: pid → parent, command line."""
        every = processes() if every is None else every
        if not self._process:
            return {}
        found = [pid for pid, (parent, *_) in every.items() if parent == self._process.pid]
        self.first = found[0] if found else 0
        for pid in found:
            found += [child for child, (parent, *_) in every.items() if parent == pid]
        alive = [pid for pid in found if pid != self.first and every[pid][1] not in "ZX"]
        return {pid: (every[pid][0], every[pid][2]) for pid in alive}

    def listeners(self) -> list[int]:
        return [pid for pid, (_, text) in self.tree().items() if "[listener]" in text]

    def sessions(self) -> list[int]:
        """sshd's processes of connections."""
        tree = self.tree()
        return [p for p, (_, t) in tree.items() if t.startswith("sshd") and "[listener]" not in t]

    def agents(self) -> list[int]:
        tree = self.tree()
        return [p for p, (up, t) in tree.items() if AGENT in t and up != self.first and AGENT
                not in tree.get(up, (0, ""))[1]]  # fmt: skip

    def guards(self) -> list[int]:
        """What watches over a build; for a moment also an agent whose connection was killed."""
        return [p for p, (up, t) in self.tree().items() if AGENT in t and up == self.first]

    def signal(self, pids: list[int], number: signal.Signals) -> int:
        """To how many."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(pids)

    def freeze(self) -> None:
        """All but what the kernel does: it still takes packets."""
        moving = list(self.tree())
        while moving:  # who forks meanwhile is met in the next round
            self.signal(moving, signal.SIGSTOP)
            every = processes()
            moving = [pid for pid in self.tree() if every.get(pid, (0, "R", ""))[1] not in "TtZX"]

    def thaw(self) -> None:
        self.signal(list(self.tree()), signal.SIGCONT)

    @property
    def cache(self) -> Path:
        """Where the agent has its files."""
        return self.top / "cache" / "copr-backend"

    def leftovers(self) -> list[str]:
        """Of builds and agents, on its disk and among its mounts."""
        found = [str(path) for path in self.cache.glob("*") if not any(map(path.match, KEPT))]
        found += [str(path) for path in self.cache.glob("runs/*")]
        self.tree()
        mounts = Path(f"/proc/{self.first}/mounts").read_text().splitlines()
        return found + [line for line in mounts if str(self.top) in line]

    def building(self, every: Processes) -> set[str]:
        """The runs that a living process writes the log of: their builders."""
        found = set()
        for pid in self.tree(every):
            with contextlib.suppress(OSError):
                for fd in Path(f"/proc/{pid}/fd").iterdir():
                    where = str(fd.readlink())
                    match = re.fullmatch(rf"{re.escape(str(self.top))}/.*/runs/([^/]+)/log", where)
                    flags = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text() if match else ""
                    if match and int(flags.split("flags:")[1].split()[0], 8) & os.O_ACCMODE:
                        found.add(match[1])
        return found
