"""One run: a farm, people who use it, somebody who kills, and the verdict."""

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from backend.repo import states
from tests.conftest import wait_until
from tests.integration.farm import Farm, make_srpm, running
from tests.upkeep.verify import Verifier, broken_files

KEEP = 2
PROJECTS = ("plain", "byhand")
TARGET = "stable"
#: What a killed frontend answers, or does not.
_AWAY = (urllib3.exceptions.HTTPError, AssertionError, ValueError, OSError, KeyError)


@dataclass
class Outcome:
    """What a run did, and what was wrong."""

    violations: list[str] = field(default_factory=list)
    deeds: Counter[str] = field(default_factory=Counter)


class People:
    """Each deed is one of a person, or of the killer; drawn from the seed."""

    def __init__(self, farm: Farm, builds: int, seed: int, outcome: Outcome) -> None:
        self.farm, self.left, self.outcome = farm, builds, outcome
        self.random = random.Random(seed)
        self.over = threading.Event()
        with tempfile.TemporaryDirectory() as top:
            self.srpms = {
                name: make_srpm(Path(top), name, "exit 1" if name == "broken" else "").read_bytes()
                for name in ("alpha", "beta", "broken")
            }

    # --- deeds ----------------------------------------------------------------------------

    def builds(self, project: str) -> list[dict[str, Any]]:
        query = f"build/list?ownername=admin&projectname={project}"
        return list(self.farm.api("GET", query)["items"])

    def submit(self) -> None:
        if self.left <= 0:
            return
        unfinished = [b for p in PROJECTS for b in self.builds(p) if not b["ended_on"]]
        if len(unfinished) >= 4:
            return
        name = self.random.choice(("alpha", "alpha", "beta", "beta", "broken"))
        path = self.farm.top / f"{name}-1-1.src.rpm"
        path.write_bytes(self.srpms[name])
        self.farm.submit(path, self.random.choice(PROJECTS))
        self.left -= 1

    def _some(self, project: str, *states: str) -> list[int]:
        found = [b["id"] for b in self.builds(project) if b["state"] in states]
        return self.random.sample(found, min(len(found), self.random.randint(1, 3)))

    def delete(self) -> None:
        if builds := self._some(self.random.choice((*PROJECTS, TARGET)), "succeeded", "failed"):
            self.farm.api("DELETE", "build/delete/list", {"builds": builds[:1]})

    def promote(self) -> None:
        source = self.random.choice(PROJECTS)
        target = self.random.choice((TARGET, source))
        builds = self._some(source, "succeeded")
        if builds and (source, target) != ("plain", "plain"):
            self.farm.api(
                "POST", f"project/promote/admin/{source}", {"builds": builds, "name": target}
            )

    def regenerate(self) -> None:
        self.farm.api("PUT", "project/regenerate-repos/admin/byhand")

    def prune(self) -> None:
        """By hand, and now and then killed in the middle."""
        self._killed_perhaps([*command(self.farm, "prune"), "--all", "--yes"])

    def rollback(self) -> None:
        """To the state before, or forth again; now and then killed in the middle."""
        project = self.random.choice((*PROJECTS, TARGET))
        for repo in sorted((self.farm.top / "results/admin" / project).glob("*/repodata")):
            chroot = repo.parent
            more = ["--devel"] if (chroot / "devel/repodata").is_dir() else []
            there = states.known(chroot / "devel" if more else chroot)
            if there and self.random.random() < 0.5:
                more.append(str(self.random.choice(there).number))
            argv = [*command(self.farm, "repo"), "rollback", f"admin/{project}", chroot.name, *more]
            self._killed_perhaps(argv)

    def _killed_perhaps(self, argv: list[str]) -> None:
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if self.random.random() < 0.5:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.3 + self.random.random())
            process.kill()
        process.wait(600)

    def kill(self) -> None:
        title = self.random.choice(("worker", "worker", "action", "web", "jobgrab", "log", "prune"))
        if pids := self.farm.titled(title):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(pids), signal.SIGKILL)
            self.outcome.deeds[f"killed {title}"] += 1

    def read(self) -> None:
        self.outcome.violations += broken_files(self.farm.top / "results")

    # --- loops ----------------------------------------------------------------------------

    def loop(self, pause: float, *deeds: Callable[[], None]) -> None:
        while not self.over.is_set():
            deed = self.random.choice(deeds)
            try:
                deed()
                self.outcome.deeds[deed.__name__] += 1
            except _AWAY:
                self.outcome.deeds[f"{deed.__name__} refused"] += 1
            self.over.wait(pause * self.random.random())

    def work(self) -> None:
        """Until all is submitted; then everybody stops."""
        loops = [
            (0.1, self.submit),
            (1.0, self.delete, self.promote, self.promote, self.regenerate),
            (2.0, self.prune, self.rollback),
            (1.0, self.kill),
            (0.2, self.read),
        ]
        threads = [threading.Thread(target=self.loop, args=args) for args in loops]
        for thread in threads:
            thread.start()
        while self.left > 0:
            select.select([], [], [], 0.2)
        self.over.set()
        for thread in threads:
            thread.join()


def command(farm: Farm, what: str) -> list[str]:
    return [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), what]


def quiet(farm: Farm) -> bool:
    """Nothing is to be built or done any more."""
    with contextlib.suppress(*_AWAY):
        return all(
            farm.http.request("GET", f"{farm.url}/backend/{path}/").json() == []
            for path in ("pending-jobs", "pending-actions")
        )
    return False


def run(*, builds: int, seed: int) -> Outcome:
    """`builds` packages are built while everything else goes on; then it is looked over."""
    outcome = Outcome()
    options = {"prune__keep": str(KEEP), "prune__every": "3s", "backend__sleeptime": "1"}
    with running(**options) as farm:
        chroots = list(farm.api("GET", "mock-chroots/list"))
        for name in (*PROJECTS, TARGET):
            body = {"name": name, "chroots": chroots, "devel_mode": name == "byhand"}
            farm.api("POST", "project/add/admin", body)
        people = People(farm, builds, seed, outcome)
        people.work()
        wait_until(lambda: quiet(farm), 600, "everything comes to its end")
        for name in (*PROJECTS, TARGET):  # the next publisher clears what a killed one left
            farm.api("PUT", f"project/regenerate-repos/admin/{name}")
        wait_until(lambda: quiet(farm), 600, "everything is published")
        subprocess.run([*command(farm, "prune"), "--all", "--yes"], check=True, capture_output=True)
        verifier = Verifier(farm, KEEP)
        for name in (*PROJECTS, TARGET):
            verifier.check(name, devel=name == "byhand")
        again = subprocess.run(command(farm, "prune"), check=True, capture_output=True, text=True)
        if not again.stdout.splitlines()[-1].startswith("0 items"):
            verifier.bad(f"a second prune finds more: {again.stdout}")
        outcome.violations += verifier.violations
    return outcome
