"""One run: hosts, farm, builds, killer, verdict."""

import contextlib
import gzip
import json
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import urllib3

from backend import constants
from tests.chaos.verify import packages
from tests.hostchaos.killer import Killer, leases
from tests.hostchaos.nethost import NetHost, processes, until
from tests.integration.farm import Farm, make_srpm
from tests.integration.sshd import make_key

HOSTS, SLOTS, WORKERS = 4, 2, 8
#: [hosts] timeout of the farm, in seconds.
SILENCE = 12
#: Most time without any build that ends, in seconds: a host rests in quarantine for minutes.
PATIENCE = 600.0
#: Most time until everything is gone from the hosts, in seconds.
AT_REST = 240.0
LINES = 400
#: Kind → (%build, what becomes of it).
KINDS = {
    "quick": ("echo done", "succeeded"),
    "noisy": (f"for i in $(seq {LINES}); do echo line $i.; sleep 0.01; done", "succeeded"),
    "second": ("sleep 30 & sleep 2", "succeeded"),
    "broken": ("sleep 1; echo oh no; exit 3", "failed"),
}
OFTEN = ("quick", "quick", "noisy", "noisy", "noisy", "second", "second", "broken")
FINAL = ("succeeded", "failed", "canceled", "skipped")
PROJECTS = ("p", "q")
#: What the daemon has no reason to leave in its directories.
LEFT = ("state/work/*/*", "run/*.*", "run/ssh/*")


@contextlib.contextmanager
def place(keep: bool) -> Iterator[tuple[Farm, list[NetHost]]]:
    """Hosts that run, and a farm that is not started; all is gone at the end."""
    top = Path(tempfile.mkdtemp(prefix="hostchaos-", dir="/var/tmp"))
    make_key(top / "id")
    hosts: list[NetHost] = []
    farm = None
    try:
        for number in range(HOSTS):
            hosts.append(NetHost(top, top / "id", number))
            hosts[-1].make()
            hosts[-1].boot()
        (top / "known_hosts").write_text("".join(host.known for host in hosts))
        farm = Farm(
            top,
            backend__group0_max_workers=str(WORKERS),
            backend__group0_hosts=" ".join(f"ssh://{host.where}" for host in hosts),
            backend__group0_max_per_host=str(SLOTS),
            backend__sleeptime="2",
            # All hosts share this kernel: one would take the groups of another for leftovers.
            builder__cgroup="no",
            hosts__identity=f"{top}/id",
            hosts__known_hosts=f"{top}/known_hosts",
            hosts__timeout=str(SILENCE),
            hosts__connect_timeout="5",
            hosts__check_interval="10",
        )
        yield farm, hosts
    finally:
        if farm:
            farm.close()
        for host in hosts:
            host.remove()
        if keep:
            print(f"left for a look: {top}")
        else:
            shutil.rmtree(top, ignore_errors=True)


class Watcher(threading.Thread):
    """Looks all the time whether a host has more than it may."""

    def __init__(self, farm: Farm, hosts: list[NetHost], bad: "Violations") -> None:
        super().__init__(daemon=True)
        self.farm, self.hosts, self.bad, self.over = farm, hosts, bad, threading.Event()
        self.looks, self.most = 0, Counter[int]()

    def run(self) -> None:
        with self.farm.redis as client:
            while not self.over.wait(0.02):
                self.looks += 1
                for where, count in Counter(lease.host for lease in leases(client)).items():
                    if count > SLOTS:
                        self.bad(f"host {where} has {count} leases")
                every = processes(titles=False)
                for host in self.hosts:
                    runs = host.building(every)
                    self.most[len(runs)] += 1
                    if len(runs) > SLOTS:  # one may have ended while we looked
                        runs &= host.building(every)
                    if len(runs) > SLOTS:
                        self.bad(f"host {host.where} runs {len(runs)} builds: {sorted(runs)}")


class Violations(list[str]):
    """Each once, with the time when it was seen first."""

    def __call__(self, text: str) -> None:
        if not any(line.endswith(text) for line in self):
            self.append(f"{time.strftime('%H:%M:%S')} {text}")


class Run:
    """`go` returns what is wrong."""

    def __init__(self, farm: Farm, hosts: list[NetHost], builds: int, seed: int) -> None:
        self.farm, self.hosts, self.count = farm, hosts, builds
        self.bad = Violations()
        self.killer = Killer(farm, hosts, seed)
        self.watcher = Watcher(farm, hosts, self.bad)
        self.kinds: dict[int, str] = {}
        self.succeeded: dict[str, set[str]] = {}
        self.over = threading.Event()

    def go(self, fury: float) -> list[str]:
        self.farm.start()
        for project in PROJECTS:
            self.farm.create(project)
        self._submit()
        self.watcher.start()
        waiter = threading.Thread(target=self._wait_for_builds, daemon=True)
        waiter.start()
        self.killer.run(self.over, fury)
        waiter.join()
        self._check_builds()
        self._check_metadata()
        self._check_rest()
        if not self.watcher.is_alive():
            self.bad("the watcher has died: a fault of this test")
        self.watcher.over.set()
        self.watcher.join()
        self._check_after_stop()
        return self.bad

    def _submit(self) -> None:
        srpms = {kind: make_srpm(self.farm.top / "src", kind, KINDS[kind][0]) for kind in KINDS}
        for number in range(self.count):
            kind = self.killer.random.choice(OFTEN)
            project = PROJECTS[number % len(PROJECTS)]
            self.kinds[self.farm.submit(srpms[kind], project)] = kind

    def _builds(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for project in PROJECTS:
            query = f"build/list?ownername=admin&projectname={project}"
            found += self.farm.api("GET", query)["items"]
        return found

    def _wait_for_builds(self) -> None:
        """Until all are final, or nothing ends any more; the killer stops a little before."""
        left, since = self.count, time.monotonic()
        while left and time.monotonic() - since < PATIENCE:
            now = left
            with contextlib.suppress(OSError, AssertionError, urllib3.exceptions.HTTPError):
                now = sum(build["state"] not in FINAL for build in self._builds())
            if now != left:
                left, since = now, time.monotonic()
            if left <= 2 and not self.over.is_set():
                self.over.set()
            threading.Event().wait(0.5)
        if left:
            self.bad(f"{left} builds do not end")
        self.over.set()

    # --- the verdict ----------------------------------------------------------------------

    def _check_builds(self) -> None:
        seen = Counter[str]()
        for build in self._builds():
            kind, state = self.kinds[build["id"]], build["state"]
            seen[state] += 1
            if state != KINDS[kind][1]:
                why = self.farm.api("GET", f"build/{build['id']}").get("failure")
                self.bad(f"build {build['id']} ({kind}) is {state}: {why}")
            for item in self.farm.api("GET", f"build-chroot/list?build_id={build['id']}")["items"]:
                if item["state"] not in FINAL:
                    continue  # that it does not end is wrong enough
                where = unquote(item["result_url"].partition("/results/")[2]).rstrip("/")
                self._check_log(build["id"], kind, self.farm.top / "results" / where)
                if item["state"] == "succeeded":
                    repo, _, name = where.rpartition("/")
                    self.succeeded.setdefault(repo, set()).add(name)
        if sum(seen.values()) != self.count:
            self.bad(f"{self.count} builds were submitted, {dict(seen)} are known")
        print(f"builds: {dict(seen)}", flush=True)

    def _check_log(self, number: int, kind: str, where: Path) -> None:
        """Of a build whose connection was cut, nothing is missing and nothing there twice."""
        log = where / "builder-live.log.gz"
        if not log.exists():
            self.bad(f"build {number}: {log} is missing")
        elif kind == "noisy":
            text = gzip.decompress(log.read_bytes()).decode()
            lines = [int(word) for word in re.findall(r"^line (\d+)\.$", text, re.MULTILINE)]
            if lines != list(range(1, LINES + 1)):
                self.bad(f"build {number}: {log} has {len(lines)} of {LINES} lines, or in disorder")

    def _check_metadata(self) -> None:
        """Each RPM of a succeeded build once, and nothing else."""
        for repo, builds in self.succeeded.items():
            path = self.farm.top / "results" / repo
            files = {f"{name}/{rpm.name}" for name in builds for rpm in (path / name).glob("*.rpm")}
            for name in builds:
                if not list((path / name).glob("*.noarch.rpm")):
                    self.bad(f"{path / name}: succeeded, and no RPM there")
            listed = Counter(location for location, *_ in packages(path))
            for location in sorted(files ^ listed.keys()):
                self.bad(f"{path}: {location}: {'not ' * (location in files)}listed")
            for location in [one for one, times in listed.items() if times > 1]:
                self.bad(f"{path}: {location}: listed twice")

    def _check_rest(self) -> None:
        """No lease is held, all hosts serve again, nothing of a build is on one of them."""
        with self.farm.redis as client:
            for key in (constants.HOST_LEASES_KEY, constants.HOST_WAITING_KEY):
                if not until(lambda key=key: not client.hlen(key), 30):  # type: ignore[misc]
                    self.bad(f"left in {key}: {client.hgetall(key)}")

            def states() -> dict[str, str]:
                known = client.hgetall(constants.HOSTS_KEY)
                return {name: json.loads(text)["state"] for name, text in known.items()}

            client.publish(constants.HOST_CHANNEL, "retry")
            names = {host.where: "ready" for host in self.hosts}
            if not until(lambda: states() == names, AT_REST):
                self.bad(f"hosts are {states()}")
        begin = time.monotonic()
        for host in self.hosts:
            if not until(lambda host=host: not host.leftovers(), AT_REST):  # type: ignore[misc]
                self.bad(f"left on {host.where}: {host.leftovers()}")
            if not until(lambda host=host: not host.guards(), AT_REST):  # type: ignore[misc]
                self.bad(f"left on {host.where}: guards {host.guards()}")
        print(f"hosts are clean {time.monotonic() - begin:.0f} s after the last build", flush=True)

    def _check_after_stop(self) -> None:
        """Nothing is left of the daemon here, and only sshd there."""
        if (code := self.farm.stop()) != 0:
            self.bad(f"the daemon ended with {code}")
        for host in self.hosts:
            if not host.listeners():
                self.bad(f"host {host.where}: no sshd: a fault of this test")
            if not until(lambda host=host: host.tree().keys() <= set(host.listeners()), AT_REST):  # type: ignore[misc]
                self.bad(f"processes left on {host.where}: {host.tree()}")
        if not until(lambda: not self._here(), AT_REST):
            self.bad(f"processes left here: {self._here()}")
        own = f"{self.farm.top}/"
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if own in line]
        files = [path for pattern in LEFT for path in self.farm.top.glob(pattern)]
        for left in (*mounts, *files):
            self.bad(f"left here: {left}")

    def _here(self) -> list[str]:
        """Command lines that name our directory, and are of none of the hosts."""
        theirs = {pid for host in self.hosts for pid in (*host.tree(), host.first, host.outside)}
        own = f"{self.farm.top}/"
        return [
            text
            for pid, (_, state, text) in processes().items()
            if own in text and state not in "ZX" and pid not in theirs
        ]
