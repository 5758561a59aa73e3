"""Publishing with the real createrepo_c, real RPMs, and dnf as the reader."""

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import publishboard, repository
from backend.exceptions import InfrastructureError, Stopped
from backend.locks import exclusive
from backend.repo import chunks, describe, states
from backend.repository import Manners, Policy, publish, retract, withdraw
from tests.integration.repositories import add, build_packages, hidden, listed, primary, references

pytestmark = [pytest.mark.createrepo, pytest.mark.rpmbuild]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return build_packages(tmp_path_factory.mktemp("rpms"))


@contextlib.contextmanager
def fake_createrepo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Iterator[None]:
    program = tmp_path / "createrepo_c"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "find", lambda _name: str(program))
        patch.setattr(describe, "FEW", 0)  # createrepo_c is asked about every package
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
    said: list[str] = []
    publish(tmp_path, manners=Manners(say=said.append))
    assert len(listed(tmp_path)) == 2
    assert len(said) == 1
    assert "left packages out" in said[0]
    assert "bad-1-1.noarch.rpm" in said[0]


def test_a_failure_names_the_last_line_and_keeps_the_old_state(
    tmp_path: Path, packages: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "repo"
    add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    before = (repo / "repodata/repomd.xml").read_bytes()
    add(repo, "00000002-world", packages["world"])
    broken = fake_createrepo(tmp_path, monkeypatch, "echo first >&2; echo no memory >&2; exit 1")
    board = tmp_path / "board"
    with broken, pytest.raises(InfrastructureError, match=r"createrepo_c: no memory$"):
        publish(repo, policy=Policy(board=board))
    assert publishboard.read(board).failures[0].why.endswith("no memory")
    silent = fake_createrepo(tmp_path, monkeypatch, "exit 0")
    with silent, pytest.raises(InfrastructureError, match="cannot publish"):
        publish(repo)
    endless = fake_createrepo(tmp_path, monkeypatch, "exec sleep 60")
    with endless, pytest.raises(InfrastructureError, match="did not end within"):
        publish(repo, manners=Manners(timeout=0.2))
    assert (repo / "repodata/repomd.xml").read_bytes() == before
    assert not [left for left in hidden(repo) if "queue" not in left]
    publish(repo, policy=Policy(board=board))
    assert publishboard.read(board) == publishboard.Board()
    assert len(listed(repo)) == 4
    assert hidden(repo) == []


@pytest.mark.parametrize(("keep", "grace", "stay"), [(1, 0.0, 2), (3, 0.0, 3), (1, 3600.0, 5)])
def test_states_stay_readable_as_kept_and_for_a_while(
    tmp_path: Path,
    packages: dict[str, list[Path]],
    monkeypatch: pytest.MonkeyPatch,
    keep: int,
    grace: float,
    stay: int,
) -> None:
    """The state before stays in any case: somebody is in the middle of it."""
    monkeypatch.setattr(states, "GRACE", grace)
    seen = []
    for number in range(5):
        add(tmp_path, f"{number:08}-hello", packages["hello"])
        publish(tmp_path, policy=Policy(keep=keep))
        seen.append(set(references((tmp_path / "repodata/repomd.xml").read_bytes()).values()))
    there = {f"repodata/{path.name}" for path in (tmp_path / "repodata").iterdir()}
    assert there == set().union(*seen[-stay:]) | {"repodata/repomd.xml"}
    assert len(states.known(tmp_path)) == stay


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


def test_a_build_is_marked_and_checked_when_nobody_else_can_publish(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    path = add(tmp_path, "00000001-hello", packages["hello"], success=False)

    def fence() -> None:
        with pytest.raises(TimeoutError), exclusive(tmp_path / ".repo.lock", limit=0):
            pytest.fail("somebody else can publish")
        assert not (path / "success").exists()
        raise Stopped("a newer start has taken over")

    with pytest.raises(Stopped):
        publish(tmp_path, build=path.name, manners=Manners(check=fence))
    assert not (path / "success").exists()
    assert not (tmp_path / "repodata").exists()
    publish(tmp_path)
    assert listed(tmp_path) == set(), "nobody wants it any more"
    publish(tmp_path, build=path.name)
    assert len(listed(tmp_path)) == 2
    assert (path / "success").read_text() == "done\n"


def test_what_goes_is_unlisted_before(tmp_path: Path, packages: dict[str, list[Path]]) -> None:
    add(tmp_path, "00000001-hello", packages["hello"])
    gone = add(tmp_path, "00000002-world", packages["world"])
    publish(tmp_path, without=[gone.name])
    assert len(listed(tmp_path)) == 2
    publish(tmp_path)
    assert len(listed(tmp_path)) == 2, "it comes back"


def test_who_waits_for_another_publisher_says_so_and_gives_up(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    add(tmp_path, "00000001-hello", packages["hello"])
    said: list[str] = []
    with (
        exclusive(tmp_path / ".repo.lock", who="build 7-x"),
        pytest.raises(InfrastructureError, match="build 7-x"),
    ):
        publish(tmp_path, manners=Manners(say=said.append, patience=0.1))
    assert said == [f"waiting for build 7-x, who publishes {tmp_path}"]


@pytest.mark.dnf
def test_dnf_lists_and_installs_what_was_published(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    repo, root = tmp_path / "repo", tmp_path / "root"
    add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    add(repo, "00000002-world", packages["world"])
    publish(repo)
    # rpm changes its root directory to install, which only root may.
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    common = [
        *sudo, "dnf", "-q", "-y", f"--repofrompath=x,file://{repo}", "--repo=x", "--nogpgcheck",
        "--releasever=1", f"--installroot={root}", f"--setopt=cachedir={tmp_path}/cache",
        "--setopt=reposdir=/dev/null", f"--setopt=logdir={tmp_path}",
    ]  # fmt: skip
    query = subprocess.run(
        [*common, "repoquery", "--qf", "%{name}.%{arch}"],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert set(query.stdout.split()) == {"hello.noarch", "hello.src", "world.noarch", "world.src"}
    done = subprocess.run(
        [*common, "install", "hello", "world"],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (root / "opt/hello").read_text() == "one\n"
    assert (root / "opt/world").read_text() == "one\n"


def test_a_retracted_build_is_not_listed_any_more(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    add(tmp_path, "00000001-hello", packages["hello"])
    gone = add(tmp_path, "00000002-world", packages["world"])
    publish(tmp_path)
    retract(tmp_path, gone.name)
    assert {name.partition("/")[0] for name in listed(tmp_path)} == {"00000001-hello"}
    assert not (gone / "success").exists()
    assert list(gone.glob("*.rpm"))  # for readers who still have the old metadata


def test_retracting_is_finished_by_the_next_try(
    tmp_path: Path, packages: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = add(tmp_path, "00000002-world", packages["world"])
    publish(tmp_path)
    (gone / "success").unlink()  # killed in the middle
    retract(tmp_path, gone.name)
    assert listed(tmp_path) == set()
    monkeypatch.setattr(repository, "publish", lambda *_, **__: pytest.fail("nothing to do"))
    retract(tmp_path, gone.name)


def test_a_chosen_set_is_published_and_the_others_keep_their_mark(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    first = add(tmp_path, "00000001-hello", packages["hello"])
    second = add(tmp_path, "00000002-world", packages["world"])
    publish(tmp_path, choose=lambda now: now | {first.name})
    assert repository.listed(tmp_path) == {first.name}
    publish(tmp_path, choose=lambda now: now | {second.name})
    assert repository.listed(tmp_path) == {first.name, second.name}
    publish(tmp_path, choose=lambda now: now - {first.name})
    assert repository.listed(tmp_path) == {second.name}
    assert (first / "success").exists()
    assert repository.listed(tmp_path / "devel") == frozenset()


def test_a_withdrawn_build_leaves_both_kinds_of_metadata_and_nothing_else_moves(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    url = "http://127.0.0.1/r"
    gone = add(tmp_path, "00000001-hello", packages["hello"])
    add(tmp_path, "00000002-world", packages["world"])
    publish(tmp_path)
    add(tmp_path, "00000003-hello", packages["hello again"])
    publish(tmp_path, devel_url=url)
    withdraw(tmp_path, [gone.name], devel_url=url)
    assert repository.listed(tmp_path) == {"00000002-world"}
    assert len(listed(tmp_path / "devel")) == 4
    assert not [path for path in listed(tmp_path / "devel") if path.startswith(gone.name)]
