"""`make hostile`: all attacks, as root and as an ordinary user, with and without cgroups, and on
a host."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from backend.builders import cgroup
from tests.hostile.arena import Arena, at_rest, judge
from tests.hostile.attack import Attack, python
from tests.hostile.attacks import ATTACKS
from tests.hostile.more import DIGEST

NOBODY = "nobody"


def play(more: str, names: list[str]) -> int:
    """All attacks against one configuration; returns how many went wrong."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="hostile-") as top:
        Path(top).chmod(0o700)
        return contest(Arena(Path(top), more), names)


def over_ssh(names: list[str]) -> int:
    """The same on a host: what is checked is the machine of the host, too, since it is this one."""
    from tests.integration import sshd  # the user has no Python packages

    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="hostile-") as path:
        top = Path(path)
        top.chmod(0o700)
        with sshd.hosts(top / "hosts", 1) as (host,):
            keys = f"identity={top}/hosts/id\nknown_hosts={top}/hosts/known_hosts"
            arena = Arena(top, f"[hosts]\n{keys}", host.address)
            arena.empty = lambda: not host.runs()
            return contest(arena, names)


def contest(arena: Arena, names: list[str]) -> int:
    """All attacks; returns how many went wrong."""
    failures = 0
    view = etc_of_the_next(arena)[1]
    print(f"== as {'root' if os.geteuid() == 0 else 'a user'}: {arena.about}")
    for attack in ATTACKS:
        if names and attack.name not in names:
            continue
        before = at_rest()
        end, log, seconds = arena.build(attack)
        wrong = judge(attack, end, log, grouped=arena.grouped)
        wrong += [f"{key} changed" for key, value in at_rest().items() if value != before[key]]
        green, seen = etc_of_the_next(arena)
        if green:
            wrong.append(f"the next build is not green: {green}")
        elif seen != view:
            wrong.append("the next build sees another /etc")
        mark = "WRONG" if wrong else "ok   "
        print(f"{mark} {attack.name:20} {seconds:6.1f} s  {end[:110] or 'green'}", flush=True)
        for line in wrong:
            print(f"      {line}")
        if wrong and os.environ.get("SHOW"):
            print(re.sub(r"(?m)^", "      | ", log[-3000:]))
        failures += bool(wrong)
    return failures


def etc_of_the_next(arena: Arena) -> tuple[str, list[str]]:
    """How a build ends that is no attack, and what it says of its /etc."""
    end, log, _ = arena.build(Attack("next", python(DIGEST)))
    return end, [line for line in log.splitlines() if line.startswith("ETC ")]


def as_user() -> int:
    """The same as an ordinary user; the builders need no Python packages."""
    here = Path(__file__).parents[2]
    command = ["runuser", "-u", NOBODY, "--"]
    if subprocess.run(
        [*command, "test", "-r", here / "backend/__init__.py"], check=False
    ).returncode:
        print(f"== not as a user: {here} is for root alone")
        return 0
    argv = ["env", "-C", str(here), "python3", "-m", "tests.hostile", *sys.argv[1:]]
    return subprocess.run(
        [*command, *argv], check=False, env={"PATH": "/usr/bin:/bin:/sbin"}
    ).returncode


def main() -> int:
    """Exit code 0 if nothing went wrong."""
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    cgroup.settle()  # as the daemon: below a unit with Delegate=yes the builds get groups
    failures = sum(play(more, names) for more in ("", "cgroup = no"))
    if os.geteuid() == 0 and "--only-me" not in sys.argv:
        failures += over_ssh(names)
        failures += as_user()
    print(f"{failures} went wrong")
    return min(failures, 100)


if __name__ == "__main__":
    sys.exit(main())
