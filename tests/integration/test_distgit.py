"""Source packages from a dist-git: real git over HTTP, real rpmbuild, in the real sandbox."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import distgit
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.builders.script import Room
from backend.config import load
from backend.exceptions import BuildError, Canceled, Unreachable
from backend.job import RpmTask
from tests.frontend.distgit import DistGit, git
from tests.frontend.server import RecordedFrontend
from tests.integration.rooms import frontend, lent, sources

pytestmark = pytest.mark.rpmbuild


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RecordedFrontend]:
    with frontend(tmp_path) as server:
        yield server


@pytest.fixture
def room(tmp_path: Path, server: RecordedFrontend) -> Iterator[Room]:
    with lent(tmp_path, server, slot=3) as room:
        yield room


def task(server: RecordedFrontend, commit: str, **more: Any) -> RpmTask:
    record = {
        "task_id": "1-debian-12-x86_64", "build_id": 1, "chroot": "debian-12-x86_64",
        "project_owner": "jdoe", "project_name": "p", "project_dirname": "p",
        "package_name": "hello", "package_version": "1-1", "git_hash": commit,
        "git_repo": f"{server.model.git}/jdoe/p/hello",
    }  # fmt: skip
    return RpmTask.from_record(record | more)


@pytest.mark.parametrize("old", [True, False])
def test_a_commit_with_lookaside_files_becomes_a_source_package(
    tmp_path: Path, server: RecordedFrontend, room: Room, old: bool
) -> None:
    commit = DistGit(server, old=old).add("jdoe/p/hello", sources(tmp_path))
    srpm = distgit.source_package(task(server, commit), room)
    assert srpm.name == "hello-1-1.src.rpm"
    inspected = tmp_path / "inspect"
    inspected.mkdir()
    info = RpmbuildBuilder(room.config).inspect(srpm, inspected, 3)
    assert info.package.evr == "1-1"
    assert b"Source0: data.txt" in info.spec
    log = room.monitor.log  # type: ignore[attr-defined]
    assert b"Checked out " + commit.encode() in log
    assert b"Fetching " in log


def test_an_older_commit_is_what_is_built(
    tmp_path: Path, server: RecordedFrontend, room: Room
) -> None:
    place = DistGit(server)
    tree = sources(tmp_path)
    first = place.add("jdoe/p/hello", tree)
    spec = tree / "hello.spec"
    spec.write_text(spec.read_text().replace("Version: 1", "Version: 2"))
    (tree / "data.txt").write_text("x")
    place.add("jdoe/p/hello", tree)
    assert distgit.source_package(task(server, first), room).name == "hello-1-1.src.rpm"


def test_a_wrong_checksum_is_refused(tmp_path: Path, server: RecordedFrontend, room: Room) -> None:
    commit = DistGit(server).add("jdoe/p/hello", sources(tmp_path))
    (cached,) = (server.files / "repo").rglob("data.txt/*/*/*")
    cached.write_text("other data")
    with pytest.raises(BuildError, match=r"data\.txt: its sha512 checksum is"):
        distgit.source_package(task(server, commit), room)


def test_a_file_that_the_cache_lacks_or_that_is_too_large(
    tmp_path: Path, server: RecordedFrontend, room: Room
) -> None:
    commit = DistGit(server).add("jdoe/p/hello", sources(tmp_path))
    small = load(room.config.path, {
        "backend.distgit_lookaside": room.config.distgit_lookaside,
        "builder.max_download": "1024",
    })  # fmt: skip
    (cached,) = (server.files / "repo").rglob("data.txt/*/*/*")
    cached.write_bytes(bytes(2000))
    narrow = Room(
        config=small, workdir=room.workdir, slot=3, deadline=room.deadline, monitor=room.monitor
    )
    with pytest.raises(BuildError, match="larger than 1024"):
        distgit.source_package(task(server, commit), narrow)
    cached.unlink()
    shutil.rmtree(room.area().path / "build")
    with pytest.raises(BuildError, match="404"):
        distgit.source_package(task(server, commit), room)


@pytest.mark.parametrize(
    "change",
    [
        {"git_hash": "0" * 40},
        {"git_hash": "--upload-pack=x"},
        {"git_hash": "master"},
        {"git_hash": None},
        {"git_repo": "file:///etc"},
        {"git_repo": "--upload-pack=touch /tmp/x"},
        {"git_repo": "ext::sh -c id"},
    ],
)
def test_hostile_tasks_fail(
    tmp_path: Path, server: RecordedFrontend, room: Room, change: dict[str, str]
) -> None:
    commit = DistGit(server).add("jdoe/p/hello", sources(tmp_path))
    with pytest.raises(BuildError):
        distgit.source_package(task(server, commit, **change), room)


def test_a_dist_git_that_is_away_is_worth_another_try(server: RecordedFrontend, room: Room) -> None:
    with pytest.raises(Unreachable, match="cannot clone"):
        distgit.source_package(task(server, "a" * 40), room)


def test_a_hostile_repository_reaches_nothing(
    tmp_path: Path, server: RecordedFrontend, room: Room
) -> None:
    """Symlinks where files are put, odd names, a spec that runs programs when parsed."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    owned = Path(f"/tmp/owned-{os.getpid()}")
    tree = sources(tmp_path, extra=f"Source0: data.txt\n%global x %(id > {owned}; id -u)\n")
    place = DistGit(server)
    place.add("jdoe/p/hello", tree)
    (tree / "data.txt").symlink_to(victim)
    git("add", "-A", "-f", cwd=tree)
    commit = place.commit("jdoe/p/hello", tree)
    srpm = distgit.source_package(task(server, commit), room)
    assert srpm.is_file()
    assert victim.read_text() == "untouched"
    assert not owned.exists()


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", ".hidden", "a b", "-rf"])
def test_hostile_names_in_sources_are_refused(name: str) -> None:
    with pytest.raises(BuildError, match="sources"):
        distgit.parse_sources(f"SHA256 ({name}) = {'0' * 64}\n")


def test_formats_of_the_sources_file() -> None:
    text = (
        "0ced6f20b9fa1bea588005b5ad4b52c1  tar-1.26.tar.xz\n\n"
        f"SHA512 (tar-1.30.tar.xz.sig) = {'AB' * 64}\n{'0' * 40} old.tar\n"
    )
    files = distgit.parse_sources(text)
    assert [(file.name, file.hashtype) for file in files] == [
        ("tar-1.26.tar.xz", "md5"),
        ("tar-1.30.tar.xz.sig", "sha512"),
        ("old.tar", "sha1"),
    ]
    assert files[1].digest == "ab" * 64
    for bad in ("one two three", "SHA512 (x) = 00", "CRC32 (x) = 00000000", "x" * 300):
        with pytest.raises(BuildError):
            distgit.parse_sources(bad)
    with pytest.raises(BuildError, match="more than"):
        distgit.parse_sources("0" * 32 + "  x\n" * 1 + ("0" * 32 + "  x\n") * 1000)


def test_lookaside_addresses() -> None:
    file = distgit.SourceFile(name="a+b.tar", hashtype="sha512", digest="ff")
    url = "https://dist.example.org/git/jdoe/p:pr:7/hello"
    tail = "a%2Bb.tar/sha512/ff/a%2Bb.tar"
    assert distgit.lookaside_url("", url, file) == (
        f"https://dist.example.org/repo/pkgs/jdoe/p:pr:7/hello/{tail}"
    )
    fedora = distgit.lookaside_url("", "https://src.fedoraproject.org/rpms/hello.git", file)
    assert fedora == f"https://src.fedoraproject.org/repo/pkgs/rpms/hello/{tail}"
    assert distgit.lookaside_url("http://x/{name}/{hash}", url, file) == "http://x/hello/ff"


def test_a_cancel_ends_a_clone(server: RecordedFrontend, room: Room) -> None:
    room.monitor.stop = True  # type: ignore[attr-defined]
    os.write(room.monitor.pipe[1], b"x")  # type: ignore[attr-defined]
    with pytest.raises(Canceled):
        distgit.source_package(task(server, "a" * 40), room)
