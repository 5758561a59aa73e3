"""Actions on real repositories, with real packages; killed in the middle, they start again."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.action import Action
from backend.actions import Yard, perform
from backend.exceptions import ActionError, FrontendError, InfrastructureError
from backend.repository import is_published
from backend.rpmfile import is_signed
from tests.frontend.server import RecordedFrontend, recorded
from tests.integration.deeds import killed_before
from tests.integration.repositories import add, build_packages, listed, primary

pytestmark = [pytest.mark.createrepo, pytest.mark.rpmbuild]

FEDORA, RAWHIDE = "fedora-41-x86_64", "fedora-rawhide-x86_64"
BASE = {"ownername": "jdoe", "projectname": "p", "appstream": False, "devel": False, "storage": 0}
HELLO = "00000001-hello/hello-1-1.noarch.rpm"
WORLD = "00000002-world/world-1-1.noarch.rpm"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return build_packages(tmp_path_factory.mktemp("rpms"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RecordedFrontend]:
    with recorded(tmp_path) as server:
        yield server


@pytest.fixture
def yard(tmp_path: Path, server: RecordedFrontend) -> Yard:
    return Yard(
        destdir=tmp_path / "results",
        results_url=server.model.results,
        frontend_url=server.url,
        say=lambda _: None,
    )


@pytest.fixture
def repo(yard: Yard, packages: dict[str, list[Path]]) -> Path:
    """Project jdoe/p: two builds in fedora, their sources in srpm-builds."""
    repo = yard.destdir / "jdoe/p" / FEDORA
    for name, key in (("00000001-hello", "hello"), ("00000002-world", "world")):
        result = add(repo, name, packages[key])
        (result / "build.info").write_text(f"build_id={int(name[:8])}\nbuilder_ip=10.0.0.1")
        add(repo.parent / "srpm-builds", name[:8], packages[key][1:])
    do(yard, 3, "repository", {**BASE, "project_dirnames": ["p"], "chroots": [FEDORA]})
    return repo


def act(kind: int, what: str, data: object, **values: Any) -> Action:
    record = {"id": 1, "action_type": kind, "object_type": what, "data": json.dumps(data)}
    return Action.from_record(record | values, 1)


def do(yard: Yard, kind: int, what: str, data: object, **values: Any) -> None:
    """Twice, for each action must be safe to repeat."""
    for _ in range(2):
        perform(act(kind, what, data, **values), yard)


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.name != ".repo")


def test_createrepo_makes_an_empty_repository_first_and_a_full_one_later(
    yard: Yard, packages: dict[str, list[Path]]
) -> None:
    data = {**BASE, "project_dirnames": ["p", "p:pr:7"], "chroots": [FEDORA, "debian-12-x86_64"]}
    do(yard, 3, "repository", data)
    for dirname in ("p", "p:pr:7"):
        for chroot in (FEDORA, "debian-12-x86_64"):
            repo = yard.destdir / "jdoe" / dirname / chroot
            assert listed(repo) == set()
            assert names(repo) == ["repodata"]
            assert repo.stat().st_mode & 0o777 == 0o755
    repo = yard.destdir / "jdoe/p" / FEDORA
    add(repo, "00000001-hello", packages["hello"])
    do(yard, 3, "repository", data)
    assert HELLO in listed(repo)


def test_one_broken_repository_does_not_keep_the_others_from_being_made(yard: Yard) -> None:
    (yard.destdir / "jdoe/p").mkdir(parents=True)
    (yard.destdir / "jdoe/p/a-1-x").write_text("a file in the way")
    data = {**BASE, "project_dirnames": ["p"], "chroots": ["a-1-x", FEDORA]}
    with pytest.raises(InfrastructureError, match="a-1-x"):
        perform(act(3, "repository", data), yard)
    assert is_published(yard.destdir / "jdoe/p" / FEDORA)


def test_devel_metadata_point_at_the_packages_of_the_main_directory(
    yard: Yard, repo: Path, packages: dict[str, list[Path]]
) -> None:
    add(repo, "00000003-hello", packages["hello again"])
    data = {**BASE, "project_dirnames": ["p"], "chroots": [FEDORA], "devel": True}
    do(yard, 3, "repository", data)
    new = "00000003-hello/hello-1-1.noarch.rpm"
    assert new in listed(repo / "devel")
    assert new not in listed(repo)
    tag = "{http://linux.duke.edu/metadata/common}location"
    bases = {
        node.get("{http://www.w3.org/XML/1998/namespace}base")
        for node in primary(repo / "devel").iter(tag)
    }
    assert {str(base).rstrip("/") for base in bases} == {f"{yard.results_url}/jdoe/p/{FEDORA}"}
    do(yard, 3, "repository", {**data, "devel": False})
    assert new in listed(repo)


def test_the_group_file_is_fetched_used_and_removed(
    yard: Yard, repo: Path, server: RecordedFrontend
) -> None:
    where = f"/coprs/jdoe/p/chroot/{FEDORA}/comps/"
    page = server.files / f"pages{where}".rstrip("/")
    page.parent.mkdir(parents=True)
    page.write_text('<?xml version="1.0"?><comps></comps>\n')
    data = {**BASE, "chroot": FEDORA, "comps_present": True, "url_path": where}
    do(yard, 4, "copr_chroot", data)
    assert (repo / "comps.xml").read_text() == page.read_text()
    assert (repo / "comps.xml").stat().st_mode & 0o777 == 0o644
    create = {**BASE, "project_dirnames": ["p"], "chroots": [FEDORA]}
    do(yard, 3, "repository", create)
    assert b'type="group"' in (repo / "repodata/repomd.xml").read_bytes()
    do(yard, 4, "copr_chroot", {**data, "comps_present": False})
    do(yard, 3, "repository", create)
    assert b'type="group"' not in (repo / "repodata/repomd.xml").read_bytes()
    page.unlink()
    with pytest.raises(ActionError, match="404"):
        perform(act(4, "copr_chroot", data), yard)
    server.shutdown()
    server.server_close()
    with pytest.raises(FrontendError):
        perform(act(4, "copr_chroot", data), yard)
    assert names(repo) == ["00000001-hello", "00000002-world", "repodata"]


def test_a_build_is_deleted_from_metadata_disk_and_sources(yard: Yard, repo: Path) -> None:
    data = {
        **BASE, "project_dirname": "p",
        "chroot_builddirs": {
            "srpm-builds": ["00000001"], FEDORA: ["00000001-hello"], "epel-9-x86_64": ["x"],
        },
    }  # fmt: skip
    do(yard, 0, "build", data, object_id=1)
    assert names(repo) == ["00000002-world", "repodata"]
    assert listed(repo) == {WORLD, WORLD.replace("noarch", "src")}
    assert names(repo.parent) == [FEDORA, "srpm-builds"]
    assert names(repo.parent / "srpm-builds") == ["00000002"]


def test_builds_of_several_directories_are_deleted(
    yard: Yard, repo: Path, packages: dict[str, list[Path]]
) -> None:
    side = yard.destdir / "jdoe/p:pr:7" / FEDORA
    add(side, "00000005-hello", packages["hello"])
    dirs = {
        "p": {FEDORA: ["00000001-hello", "00000002-world"], "srpm-builds": ["00000001"]},
        "p:pr:7": {FEDORA: ["00000005-hello"]},
    }
    do(yard, 0, "builds", {**BASE, "project_dirnames": dirs, "build_ids": [1, 2, 5]})
    assert listed(repo) == listed(side) == set()
    assert names(repo) == names(side) == ["repodata"]


def test_deleting_in_devel_mode_leaves_no_metadata_that_lists_it(yard: Yard, repo: Path) -> None:
    data = {**BASE, "devel": True, "project_dirname": "p",
            "chroot_builddirs": {FEDORA: ["00000001-hello"]}}  # fmt: skip
    do(yard, 0, "build", data)
    assert HELLO not in listed(repo)  # nor do readers of the released packages meet a 404
    assert any(path.startswith("00000002-world/") for path in listed(repo))
    assert HELLO not in listed(repo / "devel")
    assert not (repo / "00000001-hello").exists()


def test_chroots_projects_and_side_directories_go(yard: Yard, repo: Path) -> None:
    for name in ("p:pr:7", "p:pr:8", "q"):
        (yard.destdir / "jdoe" / name).mkdir()
    do(yard, 11, "copr", ["jdoe/p:pr:7"])
    assert names(yard.destdir / "jdoe") == ["p", "p:pr:8", "q"]
    do(yard, 0, "chroot", {**BASE, "chrootname": FEDORA})
    assert names(yard.destdir / "jdoe/p") == ["srpm-builds"]
    do(yard, 0, "copr", {"ownername": "jdoe", "project_dirnames": ["p", "p:pr:8"], "storage": 0})
    assert names(yard.destdir / "jdoe") == ["q"]


FORK = {
    "user": "alice", "copr": "copy", "storage": 0,
    "builds_map": {
        FEDORA: {"00000001-hello": "00000007-hello", "00000009-gone": "00000010-gone"},
        "epel-9-x86_64": {}, "srpm-builds": {"00000001": "00000007"},
    },
}  # fmt: skip
FORKED = {"old_value": "jdoe/p", "new_value": "alice/copy"}


def test_a_fork_has_the_builds_under_their_new_numbers(yard: Yard, repo: Path) -> None:
    do(yard, 7, "copr", FORK, **FORKED)
    copy = yard.destdir / "alice/copy"
    assert names(copy) == [FEDORA, "srpm-builds"]
    assert names(copy / FEDORA) == ["00000007-hello", "repodata"]
    assert "00000007-hello/hello-1-1.noarch.rpm" in listed(copy / FEDORA)
    assert names(copy / "srpm-builds") == ["00000007"]
    info = (copy / FEDORA / "00000007-hello/build.info").read_text()
    assert info == "build_id=7\nbuilder_ip=10.0.0.1"
    source, copied = repo / HELLO, copy / FEDORA / "00000007-hello/hello-1-1.noarch.rpm"
    assert copied.read_bytes() == source.read_bytes()
    assert copied.stat().st_ino != source.stat().st_ino


def test_a_fork_of_nothing_is_done(yard: Yard) -> None:
    do(yard, 7, "copr", FORK, **FORKED)
    assert not yard.destdir.exists()


def test_a_fork_drops_the_signatures_of_the_old_key(yard: Yard, repo: Path, tmp_path: Path) -> None:
    if not shutil.which("gpg") or not shutil.which("rpmsign"):
        pytest.skip("gpg or rpmsign is not installed")
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    env = {**os.environ, "GNUPGHOME": str(home)}
    new = ["gpg", "--batch", "--passphrase", "", "--quick-gen-key", "jdoe", "rsa2048"]
    subprocess.run(new, check=True, env=env, capture_output=True)
    macros = ["--define", f"__gpg {shutil.which('gpg')}", "--define", "_gpg_name jdoe"]
    sign = ["rpmsign", "--addsign", *macros, str(repo / HELLO)]
    subprocess.run(sign, check=True, env=env, capture_output=True)
    subprocess.run(["gpgconf", "--kill", "all"], check=True, env=env)
    assert is_signed(repo / HELLO)
    do(yard, 7, "copr", FORK, **FORKED)
    copied = yard.destdir / "alice/copy" / FEDORA / "00000007-hello/hello-1-1.noarch.rpm"
    assert not is_signed(copied)
    assert is_signed(repo / HELLO)
    assert copied.stat().st_mode & 0o777 == 0o644
    check = subprocess.run(["rpm", "-K", "--nosignature", str(copied)], check=False)
    assert check.returncode == 0


def test_a_release_gets_the_builds_of_rawhide(yard: Yard, packages: dict[str, list[Path]]) -> None:
    rawhide = yard.destdir / "jdoe/p" / RAWHIDE
    result = add(rawhide, "00000001-hello", packages["hello"])
    (result / "build.info").write_text("build_id=1\nbuilder_ip=10.0.0.1")
    data = {**BASE, "copr_dir": "p", "rawhide_chroot": RAWHIDE, "dest_chroot": FEDORA,
            "builds": ["00000001-hello", "00000002-gone"]}  # fmt: skip
    do(yard, 6, "None", data)
    repo = yard.destdir / "jdoe/p" / FEDORA
    assert HELLO in listed(repo)
    assert (repo / HELLO).stat().st_ino == (rawhide / HELLO).stat().st_ino
    info = "build_id=1\nbuilder_ip=10.0.0.1"
    assert (result / "build.info").read_text() == info
    assert (repo / "00000001-hello/build.info").read_text() == f"{info}\nfrom_chroot={RAWHIDE}"


def tree(path: Path) -> dict[str, bytes]:
    """Everything but the metadata, whose time stamps differ."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not {"repodata", ".repo"} & set(file.parts)
    }


@pytest.mark.parametrize("which", ["fork", "delete", "rawhide"])
def test_killed_at_any_moment_it_starts_again(
    yard: Yard, repo: Path, packages: dict[str, list[Path]], which: str
) -> None:
    for number in range(20, 26):
        add(repo, f"{number:08d}-hello", packages["hello"])
    many = [f"{number:08d}-hello" for number in range(20, 26)]
    forks = {name: f"{int(name[:8]) + 100:08d}-hello" for name in many}
    action = {
        "fork": act(7, "copr", {**FORK, "builds_map": {FEDORA: forks}}, **FORKED),
        "delete": act(
            0, "build", {**BASE, "project_dirname": "p", "chroot_builddirs": {FEDORA: many}}
        ),
        "rawhide": act(
            6, "None", {**BASE, "copr_dir": "p", "rawhide_chroot": FEDORA,
                        "dest_chroot": "fedora-42-x86_64", "builds": many},
        ),
    }[which]  # fmt: skip
    reference = Yard(
        destdir=yard.destdir.with_name("reference"), results_url=yard.results_url,
        frontend_url=yard.frontend_url, say=print,
    )  # fmt: skip
    shutil.copytree(yard.destdir, reference.destdir)
    perform(action, reference)
    deeds, fork = 1, multiprocessing.get_context("fork")
    while True:
        process = fork.Process(target=killed_before, args=(deeds, perform, action, yard))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        deeds += 1 + deeds // 8
    assert deeds > 3
    assert tree(yard.destdir) == tree(reference.destdir)
    for metadata in reference.destdir.rglob("repodata"):
        there = yard.destdir / metadata.parent.relative_to(reference.destdir)
        assert listed(there) == listed(metadata.parent)
