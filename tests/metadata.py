"""`python -m tests.metadata DIRECTORY…`: publish all RPMs in there one by one, and compare with
what createrepo_c says of them, package for package. Exit code 1 when there is a difference.

The RPMs are copied; nothing is written beside them.
"""

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from backend.repo import describe
from backend.repo.facts import Odd
from backend.repository import Manners, publish
from tests.integration.repositories import references

KINDS = ("primary", "filelists", "other")
_NAMESPACE = "{http://linux.duke.edu/metadata/"


@dataclass
class Comparison:
    """What was compared, and where the two differ."""

    packages: int = 0
    own: int = 0  # described without createrepo_c
    reasons: Counter[str] = field(default_factory=Counter)  # … and why the others were not
    complaints: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


def described(place: Path) -> dict[str, dict[str, str]]:
    """Of each of the three files: package → its canonical XML."""
    there = references((place / "repodata/repomd.xml").read_bytes())
    found = {}
    for kind in KINDS:
        root = ElementTree.fromstring(gzip.decompress((place / there[kind]).read_bytes()))
        packages = {}
        for node in root:
            key = node.get("pkgid") or node.findtext(f"{_NAMESPACE}common}}checksum") or ""
            node.tail = None
            packages[key] = ElementTree.canonicalize(ElementTree.tostring(node))
        assert int(root.get("packages", "")) == len(root), f"{kind} counts wrongly"
        found[kind] = packages
    return found


def compare(repo: Path, work: Path, program: str = "createrepo_c") -> Iterator[str]:
    """What readers of a repository get, against what createrepo_c says of its packages."""
    listed = sorted(str(path.relative_to(repo)) for path in repo.glob("*/*.rpm"))
    (work / "list").write_text("".join(f"{path}\n" for path in listed))
    argv = [program, "--no-database", "--general-compress-type=gz", f"--pkglist={work}/list"]
    done = subprocess.run(
        [*argv, f"--outputdir={work}", str(repo)],
        check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours, theirs = described(repo), described(work)
    for kind in KINDS:
        for key in sorted(theirs[kind].keys() | ours[kind].keys()):
            a, b = ours[kind].get(key), theirs[kind].get(key)
            if a != b:
                what = "missing" if a is None else "not theirs" if b is None else f"{a}\n   {b}"
                yield f"{kind} {key}: {what}"


def run(rpms: Sequence[Path], top: Path, program: str = "createrepo_c") -> Comparison:
    """Publish each of them as a build of its own, and compare."""
    found = Comparison()
    repo, work = top / "repo", top / "work"
    work.mkdir(parents=True)
    seen: set[bytes] = set()
    for number, rpm in enumerate(rpms):
        content = rpm.read_bytes()
        if content in seen:  # the same package twice has one description
            continue
        seen.add(content)
        build = repo / f"{number:08}-x"
        build.mkdir(parents=True)
        shutil.copy2(rpm, build)
        try:
            describe.package(repo, f"{build.name}/{rpm.name}")
            found.own += 1
        except Odd as why:
            found.reasons[str(why)] += 1
        publish(repo, build=build.name, manners=Manners(say=found.complaints.append))
    found.packages = len(described(repo)["primary"])
    found.differences = list(compare(repo, work, program))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was found."""
    parser = argparse.ArgumentParser(prog="tests.metadata", description=__doc__)
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--program", default="createrepo_c", help="which one to compare to")
    args = parser.parse_args(argv)
    rpms = sorted(path for top in args.directories for path in top.rglob("*.rpm"))
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="metadata-") as top:
        found = run(rpms, Path(top), args.program)
    for line in [*found.complaints, *found.differences]:
        print(f"  {line}")
    for why, count in found.reasons.most_common():
        print(f"  left to createrepo_c: {count} ({why})")
    good = not found.differences
    print(
        f"metadata: {found.packages} packages, {found.own} described without createrepo_c: "
        + ("all equal" if good else f"{len(found.differences)} DIFFERENCES")
    )
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
