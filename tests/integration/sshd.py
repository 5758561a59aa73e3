"""A real sshd for tests: own key, port, home and cache directory; killed, frozen, brought back.

Its own home, since a shell that is killed while it reads what somebody has in .bashrc may leave
locks there that the next one waits for.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import wait_until
from tests.ports import free_port
from tests.procs import stat

CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {top}/host_key
PidFile {top}/pid
AuthorizedKeysFile {key}.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserEnvironment no
PrintMotd no
SetEnv HOME={top} XDG_CACHE_HOME={top}/cache
"""


def make_key(path: Path) -> None:
    if not path.exists():
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


class Sshd:
    """One host. `start` it, `stop` it, `freeze` and `thaw` it; `before` is put before sshd's
    command line, e.g. to start it in a network namespace."""

    def __init__(
        self,
        top: Path,
        key: Path,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        before: tuple[str, ...] = (),
    ) -> None:
        self.top, self.key, self.name, self.before = top, key, address, before
        self.port = port or free_port()
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        top.mkdir(parents=True)
        make_key(top / "host_key")
        make_key(key)
        fields = {"port": self.port, "address": address, "top": top, "key": key}
        (top / "config").write_text(CONFIG.format(**fields))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"ssh://{self.user}@{self.name}" + (f":{self.port}" if self.port != 22 else "")

    @property
    def known(self) -> str:
        """Its line of known_hosts."""
        name = f"[{self.name}]:{self.port}" if self.port != 22 else self.name
        return f"{name} {(self.top / 'host_key.pub').read_text()}"

    @property
    def cache(self) -> Path:
        """Where the agent has its files."""
        return self.top / "cache" / "copr-backend"

    def runs(self) -> list[Path]:
        return list((self.cache / "runs").glob("*"))

    def start(self) -> "Sshd":
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        assert sshd
        argv = [*self.before, sshd, "-D", "-e", "-f", str(self.top / "config")]
        with (self.top / "log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        if not self.before:
            wait_until(self.answers, what="sshd answers")
            assert self.process.poll() is None, (self.top / "log").read_text()
        return self

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.name, self.port), 60):
            return True
        return False

    def family(self) -> list[int]:
        """sshd's listener, its sessions, and what runs in them: not detached builds."""
        assert self.process
        parents = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int(stat(int(entry.name))[1])
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def sessions(self) -> list[int]:
        """The processes of its connections."""
        return self.family()[1:]

    def signal(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def drop(self) -> None:
        """Cut every connection; the host itself is well."""
        self.signal(self.sessions(), signal.SIGKILL)

    def freeze(self) -> None:
        self.signal(self.family(), signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(self.family(), signal.SIGCONT)

    def stop(self) -> None:
        """sshd is gone, with all its connections; builds are not."""
        if self.process and self.process.poll() is None:
            self.signal(self.family()[::-1], signal.SIGKILL)
            self.process.wait()


@contextlib.contextmanager
def hosts(top: Path, count: int) -> Iterator[list[Sshd]]:
    """So many hosts, running; `top/id` is the key that they let in, `top/known_hosts` theirs."""
    found: list[Sshd] = []
    try:
        for number in range(count):
            found.append(Sshd(top / f"h{number}", top / "id").start())
        (top / "known_hosts").write_text("".join(host.known for host in found))
        yield found
    finally:
        for host in found:
            host.stop()
