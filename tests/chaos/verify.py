"""What must be true after the storm, looked at from outside only."""

import gzip
import os
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import urllib3

from backend import openpgp
from backend.rpmfile import signing_keys
from tests.chaos.arena import PASSWORD, Arena
from tests.chaos.load import FINAL, KINDS, Users

_COMMON = "{http://linux.duke.edu/metadata/common}"
_REPO = "{http://linux.duke.edu/metadata/repo}"


class Verifier:
    """Collects violations; an empty list at the end is a passed run."""

    def __init__(self, arena: Arena, users: Users) -> None:
        self.arena, self.users = arena, users
        self.violations: list[str] = []
        self.states: Counter[str] = Counter()
        #: Result directories of succeeded RPM builds, by the API.
        self.succeeded: set[Path] = set()

    def bad(self, text: str) -> None:
        """Note a violation."""
        self.violations.append(text)

    # --- while the farm still runs --------------------------------------------------------

    def unfinished(self) -> list[str]:
        """Tasks that the frontend still offers, and cancels not acknowledged."""
        arena = self.arena
        password = PASSWORD
        if arena.embedded:
            password = (arena.statedir / "frontend-auth").read_text().strip()
        headers = urllib3.make_headers(basic_auth=f"user:{password}")
        found = []
        for path in ("pending-jobs/", "build-tasks/cancel-requests/"):
            url = f"http://127.0.0.1:{arena.web_port}/backend/{path}"
            try:
                reply = urllib3.request("GET", url, headers=headers, timeout=20, retries=False)
            except urllib3.exceptions.HTTPError as error:
                raise OSError(f"{path}: {error}") from error
            for item in reply.json():
                found.append(item["task_id"] if isinstance(item, dict) else f"cancel of {item}")
        return found

    def check_states(self) -> None:
        """Every build and every chroot is final, and each verdict is the right one."""
        known = set()
        for build in self.users.builds():
            number, state = build["id"], build["state"]
            known.add(number)
            self.states[state] += 1
            if state not in FINAL:
                self.bad(f"build {number} is {state}, not final")
            self._check_verdict(build)
            for item in self.users.api("admin", "GET", f"build-chroot/list?build_id={number}")[
                "items"
            ]:
                self._check_chroot(number, state, item)
        for number in set(self.users.kinds) - known:
            self.bad(f"build {number} was accepted and is gone")

    def _check_verdict(self, build: dict[str, Any]) -> None:
        number, state = build["id"], build["state"]
        kind = self.users.kinds.get(number) or build["source_package"]["name"]
        if number in self.users.canceled and state == "canceled":
            return
        if kind in KINDS and state != KINDS[kind][2]:
            failure = self.users.api("admin", "GET", f"build/{number}")["failure"]
            self.bad(f"build {number} ({kind}) is {state}, expected {KINDS[kind][2]}: {failure}")

    def _check_chroot(self, number: int, state: str, item: dict[str, Any]) -> None:
        if item["state"] not in FINAL:
            self.bad(f"task {number}-{item['name']} is {item['state']} (its build: {state})")
        if item["state"] == "succeeded":
            path = unquote(item["result_url"].partition("/results/")[2]).rstrip("/")
            self.succeeded.add(self.arena.destdir / path)

    # --- the repositories -----------------------------------------------------------------

    def check_repositories(self) -> None:
        """Metadata equals a fresh createrepo_c over the RPMs of succeeded builds."""
        repos = {path.parent for path in self.succeeded}
        repos |= {path.parent for path in self.arena.destdir.glob("*/*/*/repodata")}
        for repo in sorted(repos):
            builds = sorted(path for path in self.succeeded if path.parent == repo)
            expected = self._fresh(repo, builds)
            found = packages(repo)
            twice = [one for one, times in Counter(found).items() if times > 1]
            if twice:
                self.bad(f"{repo}: listed twice: {twice[:5]}")
            for label, difference in (
                ("not published", set(expected) - set(found)),
                ("published, but not of a succeeded build", set(found) - set(expected)),
            ):
                for location, *_ in sorted(difference):
                    self.bad(f"{repo}: {label}: {location}")
            if self.arena.sign:
                self._check_signatures(repo, builds)
        self._check_directories()

    def _check_signatures(self, repo: Path, builds: list[Path]) -> None:
        """With the project's key, and with no other."""
        public = openpgp.dearmor((repo.parent / "pubkey.gpg").read_bytes())
        keys = set(openpgp.key_ids(public))
        for rpm in [rpm for build in builds for rpm in build.glob("*.rpm")]:
            if signing_keys(rpm) != keys:
                self.bad(f"{rpm}: signed by {signing_keys(rpm)}, expected {keys}")
        repomd = repo / "repodata/repomd.xml"
        with tempfile.TemporaryDirectory() as home:
            gpg = ["gpg", "--batch", "--no-autostart", "--quiet", f"--homedir={home}"]
            for more in (
                ["--import", f"{repo.parent}/pubkey.gpg"],
                ["--verify", f"{repomd}.asc", f"{repomd}"],
            ):
                done = subprocess.run([*gpg, *more], check=False, capture_output=True, text=True)
                if done.returncode:
                    self.bad(f"{repomd}: {more[0]}: {done.stderr}")

    def _fresh(self, repo: Path, builds: list[Path]) -> list[tuple[str, str, str]]:
        rpms = []
        for build in builds:
            own = [f"{build.name}/{rpm.name}" for rpm in build.glob("*.rpm")]
            if not own:
                self.bad(f"{build}: succeeded, and no RPM there")
            rpms += own
        if not rpms:
            return []
        with tempfile.TemporaryDirectory() as name:
            out = Path(name)
            (out / "list").write_text("\n".join(rpms) + "\n")
            command = ["createrepo_c", "-q", "--no-database", "--general-compress-type=gz"]
            command += [f"--pkglist={out}/list", f"--outputdir={out}", str(repo)]
            subprocess.run(command, check=True, capture_output=True)
            return packages(out)

    def _check_directories(self) -> None:
        for directory in self.arena.destdir.glob("*/*/*/*-*/"):
            marked = (directory / "success").exists()
            if directory.parent.name == "srpm-builds" or directory.name == "repodata":
                continue
            if marked and directory not in self.succeeded:
                self.bad(f"{directory}: marked as success, but not succeeded at the frontend")
            if directory in self.succeeded and not marked:
                self.bad(f"{directory}: succeeded, but without its mark")
        for directory in self.succeeded:
            for name in ("builder-live.log.gz", "backend.log.gz", "results.json"):
                if not (directory / name).exists():
                    self.bad(f"{directory}: {name} is missing")

    def check_reports(self) -> None:
        """No final report was taken twice by the frontend."""
        for task, statuses in self.arena.proxy.terminal.items():
            if len(statuses) > 1:
                self.bad(f"task {task}: reported {len(statuses)} times: {statuses}")

    # --- after the stop -------------------------------------------------------------------

    def check_keys(self, keys: list[str]) -> None:
        """Redis is empty."""
        for key in keys:
            self.bad(f"Redis key left: {key}")

    def check_leftovers(self) -> None:
        """Nothing of the daemon is left: processes, mounts, files."""
        arena = self.arena
        for proc in arena.procs():
            self.bad(f"process left: {proc.pid} {proc.title[:100]!r}")
        for line in Path("/proc/mounts").read_text().splitlines():
            place = line.split()[1]
            if place.startswith(f"{arena.top}/") and place != str(arena.disk):
                self.bad(f"mount left: {line}")
        for pattern in ("state/work/*/*", "state/uploads/*", "state/publishing/*", "web/uploads/*"):
            for path in arena.disk.glob(pattern):
                self.bad(f"left: {path}")
        for path in (arena.top / "run").iterdir():
            self.bad(f"left in rundir: {path}")
        for root, dirs, files in os.walk(arena.disk):
            private = Path(root).parts[-2:] == (".repo", "tmp")
            for name in [*dirs, *files]:
                if private or name.startswith("swap-") or name.endswith(".tmp"):
                    self.bad(f"left: {root}/{name}")


def packages(repo: Path) -> list[tuple[str, str, str]]:
    """(location, checksum, NEVRA) of everything that the repository's metadata lists."""
    repomd = repo / "repodata" / "repomd.xml"
    if not repomd.exists():
        return []
    root = ElementTree.parse(repomd).getroot()
    (href,) = [
        node.find(f"{_REPO}location").get("href")  # type: ignore[union-attr]
        for node in root
        if node.get("type") == "primary"
    ]
    found = []
    for package in ElementTree.fromstring(gzip.decompress((repo / str(href)).read_bytes())):
        version = package.find(f"{_COMMON}version")
        location, checksum = package.find(f"{_COMMON}location"), package.find(f"{_COMMON}checksum")
        assert version is not None
        assert location is not None
        assert checksum is not None
        evr = "{epoch}:{ver}-{rel}".format(**version.attrib)
        name, arch = package.findtext(f"{_COMMON}name"), package.findtext(f"{_COMMON}arch")
        found.append((location.get("href", ""), checksum.text or "", f"{name}-{evr}.{arch}"))
    return found


def history(arena: Arena, build: int) -> list[str]:
    """Everything the logs say about a build."""
    wanted = re.compile(rf"\b(build|task) {build}\b|\b0*{build}-")
    lines = []
    for path in (*arena.top.glob("log/*.log"), *arena.top.glob("*.out")):
        for line in path.read_text(errors="replace").splitlines():
            if wanted.search(line):
                lines.append(f"{path.name}: {line[:300]}")
    return lines
