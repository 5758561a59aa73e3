"""Source tasks of every type, with real git and svn repositories, in the real sandbox."""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import origins
from backend.builders.script import Room
from backend.checkout import Checkout
from backend.exceptions import BuildError
from backend.job import SourceTask
from tests.conftest import wait_until
from tests.frontend.distgit import DistGit, git
from tests.frontend.server import RecordedFrontend
from tests.integration.farm import SPEC, free_port
from tests.integration.rooms import frontend, lent, sources

pytestmark = pytest.mark.rpmbuild

LINK, PYPI, RUBYGEMS, SCM, CUSTOM, DISTGIT = 1, 5, 6, 8, 9, 10
Make = Callable[..., Path]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RecordedFrontend]:
    with frontend(tmp_path) as server:
        yield server


@pytest.fixture
def room(tmp_path: Path, server: RecordedFrontend) -> Iterator[Room]:
    with lent(tmp_path, server, slot=4) as room:
        yield room


@pytest.fixture
def make(room: Room, server: RecordedFrontend) -> Make:
    def made(kind: int, **source: Any) -> Path:
        return origins.source_package(task(kind, source), room, server.url).srpm

    return made


def task(kind: int, source: dict[str, Any]) -> SourceTask:
    return SourceTask.from_record(
        {
            "task_id": "1", "build_id": 1, "project_owner": "jdoe", "project_name": "p",
            "project_dirname": "p", "source_type": kind, "source_json": json.dumps(source),
        }
    )  # fmt: skip


def log(room: Room) -> str:
    data: bytes = room.monitor.log  # type: ignore[attr-defined]
    return data.decode()


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def repository(server: RecordedFrontend, tree: Path, path: str = "my/hello") -> str:
    DistGit(server).commit(path, tree)
    return f"{server.model.git}/{path}"


def test_what_is_only_fetched_and_what_is_made() -> None:
    assert not origins.is_made_here(task(LINK, {"url": "http://x/a.src.rpm"}))
    assert not origins.is_made_here(task(2, {"url": "http://x/tmp/t/a.src.rpm"}))
    for kind, source in ((LINK, {"url": "http://x/a.spec?x=1"}), (SCM, {}), (CUSTOM, {})):
        assert origins.is_made_here(task(kind, source))


def test_a_spec_file_by_url_brings_its_remote_sources(
    server: RecordedFrontend, make: Make, room: Room
) -> None:
    (server.files / "data.txt").write_text("data")
    text = SPEC.format(name="hello", tags=f"Source0: {server.url}/files/data.txt", build="true")
    (server.files / "hello.spec").write_text(text)
    url = f"{server.url}/files/hello.spec"
    assert make(LINK, url=url).name == "hello-1-1.src.rpm"
    assert "Fetching" in log(room)


@pytest.mark.parametrize("name", ["nothing.spec", "..%2f..%2fx.spec", ".spec", "-x.spec"])
def test_a_spec_file_that_is_not_there(server: RecordedFrontend, make: Make, name: str) -> None:
    with pytest.raises(BuildError):
        make(LINK, url=f"{server.url}/files/{name}")


def test_git_with_a_subdirectory(tmp_path: Path, server: RecordedFrontend, make: Make) -> None:
    top = tmp_path / "top"
    (top / "packaging").mkdir(parents=True)
    for file in sources(tmp_path).iterdir():
        shutil.move(file, top / "packaging")
    url = repository(server, top)
    made = make(
        SCM, type="git", clone_url=url, committish="master", subdirectory="packaging",
        spec="hello.spec", srpm_build_method="rpkg",
    )  # fmt: skip
    assert made.name == "hello-1-1.src.rpm"


@pytest.mark.parametrize("asked", ["HEAD", "v1", "COMMIT"])
def test_git_tells_the_commit_that_was_taken(
    tmp_path: Path, server: RecordedFrontend, room: Room, asked: str
) -> None:
    tree, dist_git = sources(tmp_path), DistGit(server)
    (tree / "sources").write_text("not of dist-git\n")
    commit = dist_git.commit("my/hello", tree)
    bare = server.files / "git/my/hello"
    git("tag", "-a", "-m", "a tag is another object", "v1", commit, cwd=bare)
    (tree / "later").touch()
    later = dist_git.commit("my/hello", tree)
    url = f"{server.model.git}/my/hello"
    asked = asked.replace("COMMIT", commit)
    source = {"clone_url": url.replace("://", "://jane:secret@"), "committish": asked}
    made = origins.source_package(task(SCM, source), room, server.url)
    wanted = later if asked == "HEAD" else commit
    assert made.checkout == Checkout(kind="git", url=url, asked=asked, commit=wanted)
    assert made.checkout.uri == f"git+{url}@{wanted}"


def test_a_subdirectory_that_is_not_there(
    tmp_path: Path, server: RecordedFrontend, make: Make
) -> None:
    url = repository(server, sources(tmp_path))
    with pytest.raises(BuildError, match="the repository has no directory no/where"):
        make(SCM, type="git", clone_url=url, subdirectory="no/where")


def test_make_srpm(tmp_path: Path, server: RecordedFrontend, make: Make) -> None:
    tree = sources(tmp_path)
    (tree / ".copr").mkdir()
    (tree / ".copr/Makefile").write_text(
        "srpm:\n\ttouch extra.txt\n\trpmbuild -bs --define '_sourcedir .'"
        " --define '_srcrpmdir $(outdir)' $(spec)\n\ttouch $(outdir)/notes\n"
    )
    url = repository(server, tree)
    made = make(SCM, clone_url=url, spec="hello.spec", srpm_build_method="make_srpm")
    assert made.name == "hello-1-1.src.rpm"


def test_svn(tmp_path: Path, make: Make, room: Room) -> None:
    if not shutil.which("svn"):
        pytest.skip("svn is not installed")
    repo, tree = tmp_path / "svn", sources(tmp_path)
    subprocess.run(["svnadmin", "create", repo], check=True)
    where = f"file://{repo}"
    subprocess.run(["svn", "import", "-q", "-m", "x", tree, where], check=True)
    with pytest.raises(BuildError, match="no address"):  # a local path is none of the user's
        make(SCM, type="svn", clone_url=where)
    port = free_port()
    serve = ["svnserve", "-d", "--foreground", "--listen-host", "127.0.0.1"]
    with subprocess.Popen([*serve, "--listen-port", str(port), "-r", tmp_path]) as served:
        try:
            wait_until(lambda: listens(port), 10, "svnserve")
            url = f"svn://127.0.0.1:{port}/svn"
            made = origins.source_package(task(SCM, {"type": "svn", "clone_url": url}), room, "")
            assert made.srpm.name == "hello-1-1.src.rpm"
            assert made.checkout == Checkout(kind="svn", url=url, asked="HEAD", commit="1")
        finally:
            served.terminate()
    shutil.rmtree(room.area().path / "build")
    with pytest.raises(BuildError, match="svn checkout"):
        make(SCM, type="svn", clone_url=url)


@pytest.mark.parametrize(
    ("kind", "tool", "source"),
    [
        (SCM, "tito", {"srpm_build_method": "tito"}),
        (SCM, "tito", {"srpm_build_method": "tito_test"}),
        (PYPI, "pyp2spec", {"pypi_package_name": "requests", "spec_generator": "pyp2spec"}),
        (PYPI, "pyp2rpm", {"pypi_package_name": "requests", "python_versions": ["3", "2"]}),
        (RUBYGEMS, "gem2rpm", {"gem_name": "rake"}),
    ],
)
def test_a_missing_tool_is_named_with_its_package(
    tmp_path: Path, server: RecordedFrontend, make: Make, kind: int, tool: str, source: Any
) -> None:
    if shutil.which(tool, path="/usr/bin:/usr/local/bin"):
        pytest.skip(f"{tool} is installed here")
    url = repository(server, sources(tmp_path))
    with pytest.raises(BuildError, match=f"{tool} is not installed on this machine: .*Fedora: "):
        make(kind, clone_url=url, **source)


def test_a_template_needs_rpkg(tmp_path: Path, server: RecordedFrontend, make: Make) -> None:
    if shutil.which("rpkg", path="/usr/bin:/usr/local/bin"):
        pytest.skip("rpkg is installed here")
    tree = sources(tmp_path)
    spec = tree / "hello.spec"
    spec.write_text(spec.read_text().replace("Version: 1", "Version: {{{ git_version }}}"))
    with pytest.raises(BuildError, match="rpkg is not installed"):
        make(SCM, clone_url=repository(server, tree))


def test_custom(make: Make, room: Room) -> None:
    text = SPEC.format(name="mine", tags="Source0: data", build="true")
    end = f"cat >mine.spec <<'E'\n{text}E\n"
    body = f'#! /bin/sh\r\nid -u\ncd "$COPR_RESULTDIR"\necho x >data\n{end}'
    made = make(CUSTOM, script=body, builddeps="git make", resultdir="out", chroot="f-41-x86_64")
    assert made.name == "mine-1-1.src.rpm"
    assert "note: builddeps git make" in log(room)
    assert "1000" in log(room).split()


def test_a_custom_script_that_fails(make: Make) -> None:
    with pytest.raises(BuildError, match="exit code 3"):
        make(CUSTOM, script="#!/bin/sh\nexit 3\n")


def test_distgit(tmp_path: Path, server: RecordedFrontend, make: Make) -> None:
    DistGit(server).add("rpms/hello", sources(tmp_path))
    url = f"{server.model.git}/rpms/hello"
    assert make(DISTGIT, clone_url=url, distgit="fedora").name == "hello-1-1.src.rpm"


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (SCM, {"clone_url": "--upload-pack=x"}),
        (SCM, {"clone_url": "file:///etc"}),
        (SCM, {"clone_url": 7}),
        (SCM, {"clone_url": "http://x/y", "committish": "--orphan"}),
        (SCM, {"clone_url": "http://x/y", "subdirectory": "../.."}),
        (SCM, {"clone_url": "http://x/y", "spec": "a/../../b.spec"}),
        (SCM, {"clone_url": "http://x/y", "spec": "$(id).spec"}),
        (SCM, {"clone_url": "http://x/y", "srpm_build_method": "magic"}),
        (SCM, {"clone_url": "http://x/y", "type": "cvs"}),
        (SCM, {}),
        (DISTGIT, {}),
        (PYPI, {"pypi_package_name": "-r /etc/passwd"}),
        (PYPI, {"pypi_package_name": "x", "python_versions": ["3; id"]}),
        (PYPI, {"pypi_package_name": "x", "spec_generator": "magic"}),
        (PYPI, {}),
        (RUBYGEMS, {"gem_name": "../x y"}),
        (RUBYGEMS, {}),
        (CUSTOM, {}),
        (CUSTOM, {"script": "true", "resultdir": "/../../etc"}),
        (CUSTOM, {"script": "true", "hook_data": True, "tmp": "../x y"}),
        (0, {}),
    ],
)
def test_hostile_sources_fail_before_anything_runs(
    make: Make, room: Room, kind: int, source: dict[str, Any]
) -> None:
    with pytest.raises(BuildError):
        make(kind, **source)
    assert "Sources, " not in log(room)
