"""For tests of signing: dnf as a reader that trusts nothing, and small changes to files."""

import os
import shutil
import subprocess
from pathlib import Path

from backend.config import Config, load

#: rpm changes its root directory to install, which only root may.
SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]


def config(top: Path, **signing: str) -> Config:
    """A configuration that signs, with its directories."""
    for name in ("results", "state", "run"):
        (top / name).mkdir(exist_ok=True)
    path = top / "copr-be.conf"
    options = {"backend": "gpg", "key_type": "ed25519", **signing}
    lines = [f"{key} = {value}\n" for key, value in options.items()]
    path.write_text(
        f"[backend]\ndestdir = {top}/results\nstatedir = {top}/state\nrundir = {top}/run\n"
        f"log_dir = {top}/log\n[signing]\n" + "".join(lines)
    )
    return load(path)


class Reader:
    """dnf with one .repo file and nothing of this machine: no cache and no keys."""

    def __init__(self, top: Path, repo_file: str) -> None:
        self.top = top
        (top / "repos").mkdir(parents=True)
        (top / "repos/x.repo").write_text(repo_file)

    def dnf(self, *command: str, fresh: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in an empty root; `fresh`: one that has not seen the repository yet."""
        if fresh:
            subprocess.run([*SUDO, "rm", "-rf", self.top / "root", self.top / "cache"], check=True)
        return subprocess.run(
            [
                *SUDO, "dnf", "-q", "-y", "--noplugins", "--releasever=12",
                f"--installroot={self.top}/root",
                f"--setopt=reposdir={self.top}/repos", f"--setopt=cachedir={self.top}/cache",
                f"--setopt=logdir={self.top}", *command,
            ],
            check=False, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    def installs(self, package: str, *, fresh: bool = True) -> bool:
        """True if dnf installs it."""
        done = self.dnf("install", package, fresh=fresh)
        self.said = done.stdout + done.stderr
        return done.returncode == 0 and (self.top / "root/usr/share" / package).is_dir()


def flip(path: Path, at: int) -> bytes:
    """Change one bit of a file, behind everybody's back; returns what it was."""
    old = path.read_bytes()
    new = bytearray(old)
    new[at] ^= 1
    path.write_bytes(new)
    return old


def checks(rpm: Path, pubkey: Path, database: Path) -> subprocess.CompletedProcess[str]:
    """`rpm -Kv` with nothing but this key."""
    shutil.rmtree(database, ignore_errors=True)
    base = ["rpm", f"--dbpath={database}"]
    subprocess.run([*base, "--import", str(pubkey)], check=True, capture_output=True)
    command = [*base, "-Kv", str(rpm)]
    return subprocess.run(command, check=False, capture_output=True, text=True)
