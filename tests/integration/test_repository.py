"""Publishing with the real createrepo_c, real RPMs, and dnf as the reader."""

import contextlib
import gzip
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

from backend import repository
from backend.exceptions import InfrastructureError
from backend.repository import publish
from tests.conftest import wait_until

pytestmark = [pytest.mark.createrepo, pytest.mark.rpmbuild]

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
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return sorted(topdir.glob("**/*.rpm"))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    base = tmp_path_factory.mktemp("rpms")
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
    return sorted(entry.name for entry in repo.iterdir() if entry.name.startswith(".publish"))


@contextlib.contextmanager
def fake_createrepo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Iterator[None]:
    program = tmp_path / "createrepo_c"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(repository, "find", lambda _name: str(program))
        yield


def test_only_successful_builds_are_listed(tmp_path: Path, packages: dict[str, list[Path]]) -> None:
    add(tmp_path, "00000001-hello", packages["hello"])
    unfinished = add(tmp_path, "00000002-world", packages["world"], success=False)
    add(unfinished, "prev_build_backup", packages["world"])
    shutil.copy(packages["world"][0], tmp_path)
    publish(tmp_path)
    one = {"00000001-hello/hello-1-1.noarch.rpm", "00000001-hello/hello-1-1.src.rpm"}
    assert listed(tmp_path) == one
    (unfinished / "success").write_text("done\n")
    publish(tmp_path)
    assert len(listed(tmp_path)) == 4
    shutil.rmtree(unfinished)
    publish(tmp_path)
    assert listed(tmp_path) == one
    assert hidden(tmp_path) == []


def test_a_repository_without_packages_is_valid_and_shrinks_to_nothing(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    repo = tmp_path / "jdoe/cap1/fedora-41-x86_64"
    publish(repo)
    assert listed(repo) == set()
    result = add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    assert len(listed(repo)) == 2
    (result / "success").unlink()
    publish(repo)
    assert listed(repo) == set()


def test_modes_do_not_depend_on_the_umask(tmp_path: Path, packages: dict[str, list[Path]]) -> None:
    old = os.umask(0o077)
    try:
        publish(tmp_path / "a/b")
    finally:
        os.umask(old)
    repo = tmp_path / "a/b"
    for path in (tmp_path / "a", repo, repo / "repodata"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    files = list((repo / "repodata").iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}
    assert not [path for path in files if "sqlite" in path.name]
    assert sum(path.name.endswith(".xml.gz") for path in files) == 3


def test_same_name_size_and_time_in_two_builds_are_two_packages(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    for number, name in enumerate(("hello", "hello again"), 1):
        for rpm in add(tmp_path, f"0000000{number}-hello", packages[name]).glob("*.rpm"):
            os.truncate(rpm, 10_000)  # createrepo_c does not mind zeros at the end
            os.utime(rpm, (10**9, 10**9))
        publish(tmp_path)
    tag = "{http://linux.duke.edu/metadata/common}summary"
    assert sorted(str(node.text) for node in primary(tmp_path).iter(tag)) == 2 * ["one"] + 2 * [
        "two"
    ]


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "missing", "foreign"])
def test_damaged_metadata_does_not_stop_publishing(
    tmp_path: Path, packages: dict[str, list[Path]], damage: str
) -> None:
    add(tmp_path, "00000001-hello", packages["hello"])
    publish(tmp_path)
    files = list((tmp_path / "repodata").glob("*.gz"))
    repomd = tmp_path / "repodata/repomd.xml"
    if damage == "truncated":
        for path in files:
            path.write_bytes(path.read_bytes()[:60])
    elif damage == "missing":
        for path in files:
            path.unlink()
    else:
        text = {"garbage": b"\0<", "empty": b"", "foreign": b"<html/>"}[damage]
        repomd.write_bytes(text)
    add(tmp_path, "00000002-world", packages["world"])
    publish(tmp_path)
    assert len(listed(tmp_path)) == 4
    assert len(set(references(repomd.read_bytes()).values())) == 3


def test_an_unreadable_package_does_not_hide_the_others(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    add(tmp_path, "00000001-hello", packages["hello"])
    (add(tmp_path, "00000002-bad", []) / "bad-1-1.noarch.rpm").write_bytes(b"no rpm")
    publish(tmp_path)
    assert len(listed(tmp_path)) == 2


def test_a_failure_names_the_last_line_and_keeps_the_old_state(
    tmp_path: Path, packages: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "repo"
    add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    before = (repo / "repodata/repomd.xml").read_bytes()
    add(repo, "00000002-world", packages["world"])
    broken = fake_createrepo(tmp_path, monkeypatch, "echo first >&2; echo no memory >&2; exit 1")
    with broken, pytest.raises(InfrastructureError, match=r"createrepo_c: no memory$"):
        publish(repo)
    silent = fake_createrepo(tmp_path, monkeypatch, "exit 0")
    with silent, pytest.raises(InfrastructureError, match="cannot publish"):
        publish(repo)
    endless = fake_createrepo(tmp_path, monkeypatch, "exec sleep 60")
    with endless, pytest.raises(InfrastructureError, match="did not end within"):
        publish(repo, timeout=0.2)
    assert (repo / "repodata/repomd.xml").read_bytes() == before
    assert hidden(repo) == []


def test_the_state_before_stays_readable_for_one_more_publish(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    states = []
    for number in range(3):
        add(tmp_path, f"{number:08}-hello", packages["hello"])
        publish(tmp_path)
        states.append(set(references((tmp_path / "repodata/repomd.xml").read_bytes()).values()))
    there = {f"repodata/{path.name}" for path in (tmp_path / "repodata").iterdir()}
    assert there == states[1] | states[2] | {"repodata/repomd.xml"}


def test_unchanged_packages_are_not_read_again(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    result = add(tmp_path, "00000001-hello", packages["hello"])
    publish(tmp_path)
    for rpm in result.glob("*.rpm"):
        status = rpm.stat()
        rpm.write_bytes(b"\0" * status.st_size)  # could not be read
        os.utime(rpm, ns=(status.st_atime_ns, status.st_mtime_ns))
    add(tmp_path, "00000002-world", packages["world"])
    publish(tmp_path)
    assert len(listed(tmp_path)) == 4


def test_readers_never_see_half_a_state(tmp_path: Path, packages: dict[str, list[Path]]) -> None:
    """What a repomd.xml refers to is there while that repomd.xml is the live one, or the last."""
    repo = tmp_path
    result = add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    rounds = 40
    stop = False

    def writer() -> None:
        for number in range(rounds):
            if number % 2:
                (result / "success").write_text("done\n")
            else:
                (result / "success").unlink()
            add(repo, f"1{number:07}-w", packages["world"][:1])
            publish(repo)

    def reader() -> tuple[int, int]:
        reads, states, last = 0, 0, b""
        while not stop:
            content = (repo / "repodata/repomd.xml").read_bytes()
            states += content != last
            last = content
            for href in references(content).values():
                if not (repo / href).exists():
                    # Two publishes later is too late; while it is live it must be complete.
                    assert (repo / "repodata/repomd.xml").read_bytes() != content, href
            reads += 1
        return reads, states

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(reader) for _ in range(2)]
        try:
            pool.submit(writer).result(60)
        finally:
            stop = True
        for reads, states in (future.result(10) for future in readers):
            assert reads >= rounds
            assert states > rounds / 2
    assert len(listed(repo)) == 2 + rounds
    assert len(list((repo / "repodata").glob("*primary*"))) == 2


def test_concurrent_publishers_end_with_everything_listed(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    def build(number: int) -> None:
        add(tmp_path, f"{number:08}-world", packages["world"])
        publish(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(build, range(16)))
    assert len(listed(tmp_path)) == 32
    assert hidden(tmp_path) == []


KILLED = """
import sys
from pathlib import Path
from backend import repository
if sys.argv[2] == "createrepo":
    repository.find = lambda name: sys.argv[3]
else:
    sync, count = repository.sync, iter(range(100))
    def stuck(path):
        sync(path)
        if next(count) == int(sys.argv[2]):
            print("here", flush=True)
            sys.stdin.read()
    repository.sync = stuck
repository.publish(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["createrepo", "0", "1", "2", "3", "4", "5"])
def test_a_killed_publisher_leaves_the_old_state_and_the_next_cleans_up(
    tmp_path: Path, packages: dict[str, list[Path]], moment: str
) -> None:
    repo = tmp_path / "repo"
    add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    add(repo, "00000002-world", packages["world"])
    fake = tmp_path / "fake"
    fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 60\n")
    fake.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(repo), moment, str(fake)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as child:  # fmt: skip
        if moment == "createrepo":
            wait_until((tmp_path / "started").exists, 20)
        else:
            assert child.stdout
            assert child.stdout.readline() == b"here\n"
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    assert hidden(repo), "the killed publisher left its directory"
    assert len(listed(repo)) == (4 if moment == "5" else 2)
    for href in references((repo / "repodata/repomd.xml").read_bytes()).values():
        assert (repo / href).exists()
    begin = time.monotonic()
    publish(repo)
    assert time.monotonic() - begin < 5, "the lock died with its holder"
    assert len(listed(repo)) == 4
    assert hidden(repo) == []


@pytest.mark.dnf
def test_dnf_lists_and_installs_what_was_published(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    repo, root = tmp_path / "repo", tmp_path / "root"
    add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    add(repo, "00000002-world", packages["world"])
    publish(repo)
    common = [
        "dnf", "-q", "-y", f"--repofrompath=x,file://{repo}", "--repo=x", "--nogpgcheck",
        "--releasever=1", f"--installroot={root}", f"--setopt=cachedir={tmp_path}/cache",
        "--setopt=reposdir=/dev/null", f"--setopt=logdir={tmp_path}",
    ]  # fmt: skip
    query = subprocess.run(
        [*common, "repoquery", "--qf", "%{name}.%{arch}"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert set(query.stdout.split()) == {"hello.noarch", "hello.src", "world.noarch", "world.src"}
    done = subprocess.run(
        [*common, "install", "hello", "world"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (root / "opt/hello").read_text() == "one\n"
    assert (root / "opt/world").read_text() == "one\n"
