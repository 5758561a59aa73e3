"""Tiny real RPMs, and what the metadata of a repository says."""

import gzip
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

NAMESPACE = "{http://linux.duke.edu/metadata/repo}"
SPEC = """\
Name: {name}
Version: 1
Release: 1
Summary: {summary}
License: MIT
BuildArch: noarch
%description
{summary}
%install
mkdir -p %{{buildroot}}/opt
echo {summary} > %{{buildroot}}/opt/{name}
%files
/opt/{name}
"""


def rpmbuild(topdir: Path, name: str, summary: str) -> list[Path]:
    topdir.mkdir(parents=True)
    spec = topdir / f"{name}.spec"
    spec.write_text(SPEC.format(name=name, summary=summary))
    subprocess.run(
        ["rpmbuild", "-ba", "--define", f"_topdir {topdir}", str(spec)],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    return sorted(topdir.glob("**/*.rpm"))


def build_packages(base: Path) -> dict[str, list[Path]]:
    """Two packages with the same identity but other content, and another one."""
    return {
        "hello": rpmbuild(base / "1", "hello", "one"),
        "hello again": rpmbuild(base / "2", "hello", "two"),
        "world": rpmbuild(base / "3", "world", "one"),
    }


def add(repo: Path, result: str, rpms: list[Path], success: bool = True) -> Path:
    path = repo / result
    path.mkdir(parents=True)
    for rpm in rpms:
        shutil.copy(rpm, path)
    if success:
        (path / "success").write_text("done\n")
    return path


def references(repomd: bytes) -> dict[str, str]:
    root = ElementTree.fromstring(repomd)
    return {
        node.get("type", ""): node.findall(f"{NAMESPACE}location")[0].get("href", "")
        for node in root.iter(f"{NAMESPACE}data")
    }


def primary(repo: Path) -> ElementTree.Element:
    href = references((repo / "repodata/repomd.xml").read_bytes())["primary"]
    return ElementTree.fromstring(gzip.decompress((repo / href).read_bytes()))


def listed(repo: Path) -> set[str]:
    tag = "{http://linux.duke.edu/metadata/common}location"
    return {node.get("href", "") for node in primary(repo).iter(tag)}


def hidden(repo: Path) -> list[str]:
    """What publishers left behind that nobody needs."""
    private = repo / ".repo"
    left = [path for what in ("tmp/*", "queue/[a-z]*", "swap-*") for path in private.glob(what)]
    return sorted(str(path.relative_to(repo)) for path in [*left, *repo.glob(".repo.lock")])
