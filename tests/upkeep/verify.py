"""What must be true of results, database and metadata, looked at from outside."""

import gzip
import re
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from backend.layout import WITHHELD
from tests.integration.farm import Farm
from tests.integration.repositories import references

_HREF = re.compile(r'<location [^>]*href="([^"]+)"')
_HIDDEN = re.compile(r"\.(pruning|pruned-.*|publish-.*|set-.*|new\.set-.*|copying-.*)")
GOOD = ("succeeded", "forked")


def files_of(place: Path) -> set[str]:
    """What the metadata in `place` lists."""
    live = place / "repodata/repomd.xml"
    if not live.exists():
        return set()
    href = references(live.read_bytes())["primary"]
    return set(_HREF.findall(gzip.decompress((place / href).read_bytes()).decode()))


def broken_files(results: Path) -> list[str]:
    """Packages that a repository lists and has not, unless it was published meanwhile."""
    found = []
    public = ("*/*/*/repodata/repomd.xml", "*/*/*/devel/repodata/repomd.xml")
    for repomd in (path for pattern in public for path in results.glob(pattern)):
        place = repomd.parent.parent
        root = place.parent if place.name == "devel" else place
        try:
            before = repomd.read_bytes()
            missing = [path for path in files_of(place) if not (root / path).is_file()]
            if missing and repomd.read_bytes() == before:
                found.append(f"{place} lists {missing[0]}, which is not there")
        except FileNotFoundError:  # a state that has been replaced twice
            continue
    return found


class Verifier:
    """Collects what is wrong."""

    def __init__(self, farm: Farm, keep: int) -> None:
        self.farm, self.keep = farm, keep
        self.violations: list[str] = []

    def bad(self, text: str) -> None:
        self.violations.append(text)

    def check(self, project: str, *, devel: bool) -> None:
        """One project: rows against directories against metadata."""
        top = self.farm.top / "results/admin" / project
        self.violations += broken_files(self.farm.top / "results")
        for path in top.rglob(".*"):
            if _HIDDEN.fullmatch(path.name):
                self.bad(f"left: {path}")
        builds = self._builds(project)
        rows = self._rows(builds)
        for repo in (path for path in top.iterdir() if path.name != "srpm-builds"):
            self._chroot(project, repo, [row for row in rows if row["name"] == repo.name], devel)
        known = {f"{build['id']:08d}" for build in builds}
        for path in (top / "srpm-builds").glob("[0-9]*"):
            if path.name not in known:
                self.bad(f"{path}: of a deleted build")

    def _builds(self, project: str) -> list[dict[str, Any]]:
        query = f"build/list?ownername=admin&projectname={project}&limit=10000"
        return list(self.farm.api("GET", query)["items"])

    def _rows(self, builds: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = []
        for build in builds:
            answer = self.farm.api("GET", f"build-chroot/list?build_id={build['id']}")
            package = build["source_package"]["name"]
            rows += [row | {"build": build["id"], "package": package} for row in answer["items"]]
        return rows

    def _chroot(self, project: str, repo: Path, rows: list[dict[str, Any]], devel: bool) -> None:
        shown = {unquote(row["result_url"]).rstrip("/").rpartition("/")[2]: row
                 for row in rows if row["result_url"]}  # fmt: skip
        there = {path.name for path in repo.glob("[0-9]*")}
        for name in shown.keys() - there:
            self.bad(f"{project}/{name}: the page shows it ({shown[name]['state']}), it is gone")
        for name in there - shown.keys():
            self.bad(f"{project}/{name}: it is there, and no page shows it")
        listed = {path.partition("/")[0] for path in files_of(repo / "devel" if devel else repo)}
        withheld = {path.parent.name for path in repo.glob(f"*/{WITHHELD}")}  # by a rollback
        good = {name for name, row in shown.items() if row["state"] in GOOD} - withheld
        if listed != good:
            self.bad(f"{project}: lists {sorted(listed)}, but {sorted(good)} succeeded")
        apart = {shown[name]["build"] for name in withheld & shown.keys()}
        by_package: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            if row["state"] in GOOD and row["build"] not in apart:
                by_package[row["package"]].append(row["build"])
        for package, numbers in by_package.items():
            wanted = set(sorted(numbers)[-self.keep :])
            have = {row["build"] for row in shown.values()
                    if row["package"] == package and row["build"] in numbers}  # fmt: skip
            # A newer one may have been deleted after an older one had been pruned.
            if not have <= wanted or max(numbers) not in have:
                self.bad(f"{project}: of {package} {sorted(have)} stay, wanted {sorted(wanted)}")
