"""`copr_be.py repo` beside publishers: states, what is wrong, and the way back."""

import json
from pathlib import Path

import pytest

from backend.cli import main
from backend.config import load
from backend.repository import policy, publish
from tests.integration.repositories import add, build_packages, listed, references

pytestmark = [pytest.mark.rpmbuild, pytest.mark.createrepo]
CHROOT = "fedora-41-x86_64"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return build_packages(tmp_path_factory.mktemp("rpms"))


@pytest.fixture
def conf(tmp_path: Path, packages: dict[str, list[Path]]) -> Path:
    """A farm with a repository of two states: hello, then world besides."""
    path = tmp_path / "copr-be.conf"
    path.write_text(f"[backend]\nstatedir={tmp_path}/state\ndestdir={tmp_path}/results\n")
    config = load(path)
    repo = config.destdir / "jdoe/p" / CHROOT
    for number, name in enumerate(("hello", "world"), 1):
        add(repo, f"{number:08}-{name}", packages[name])
        publish(repo, policy=policy(config, repo))
    return path


def call(conf: Path, *words: str) -> int:
    what, *rest = words
    return main(["repo", what, "-c", str(conf), "jdoe/p", CHROOT, *rest])


def test_there_and_back_again(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = load(conf).destdir / "jdoe/p" / CHROOT
    both = listed(repo)
    assert call(conf, "states", "--json") == 0
    before = json.loads(capsys.readouterr().out)
    assert [(row["builds"], row["live"]) for row in before] == [(1, False), (2, True)]
    assert call(conf, "rollback") == 0
    assert {name.partition("/")[0] for name in listed(repo)} == {"00000001-hello"}
    assert call(conf, "check") == 0
    assert call(conf, "rollback", str(before[1]["state"])) == 0
    assert sorted(listed(repo)) == sorted(both)
    assert call(conf, "check") == 0
    assert "all is well" in capsys.readouterr().out


def test_back_in_devel_and_what_is_released_stays(
    conf: Path, packages: dict[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Four builds in devel/: the first was released there, the last two are to go again."""
    config = load(conf)
    repo, url = config.destdir / "jdoe/q" / CHROOT, "http://127.0.0.1/q"
    names = [f"{number:08}-x" for number in range(1, 5)]
    publish(repo, choose=lambda now: now)
    for number, name in enumerate(names):
        add(repo, name, packages["world" if number % 2 else "hello"][:1])
        publish(repo, devel_url=url)
        if number == 1:
            publish(repo, choose=lambda now: now | {names[3]} | {names[0]})
    publish(repo, choose=lambda now: now | {names[3]})

    def q(*words: str) -> int:
        what, *rest = words
        return main(["repo", what, "-c", str(conf), "jdoe/q", CHROOT, *rest])

    assert builds(repo) == {names[0], names[3]}
    assert q("states", "--devel", "--json") == 0
    states = [row["state"] for row in json.loads(capsys.readouterr().out) if row["builds"]]
    assert q("rollback", str(states[1]), "--devel") == 0
    assert builds(repo / "devel") == {*names[:2], names[3]}, "and what is released"
    assert builds(repo) == {names[0], names[3]}
    publish(repo, devel_url=url)
    assert builds(repo / "devel") == {*names[:2], names[3]}, "it stays so"
    assert q("check") == 0
    assert q("rollback", str(states[3]), "--devel") == 0
    assert builds(repo / "devel") == set(names)
    assert q("check") == 0


def builds(place: Path) -> set[str]:
    return {path.partition("/")[0] for path in listed(place)}


def test_what_is_wrong_is_named_and_made_right(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = load(conf).destdir / "jdoe/p" / CHROOT
    primary = repo / references((repo / "repodata/repomd.xml").read_bytes())["primary"]
    primary.write_bytes(primary.read_bytes()[:-1])
    assert call(conf, "check") == 1
    assert f"{primary} is damaged" in capsys.readouterr().out
    assert call(conf, "rebuild") == 0
    assert call(conf, "check") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rollback", "77"), "has no state 77: there are"),
        (("states", "1"), "takes no STATE"),
        (("check", "--devel"), "leave --devel out"),
        (("rollback", "--devel"), "no devel/ metadata"),
    ],
)
def test_impossible_wishes(
    conf: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert call(conf, *words) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("project", "said"), [("jdoe", "write OWNER/PROJECT"), ("jdoe/q", "no published repository")]
)
def test_unknown_repositories(
    conf: Path, capsys: pytest.CaptureFixture[str], project: str, said: str
) -> None:
    assert main(["repo", "check", "-c", str(conf), project, CHROOT]) == 1
    assert said in capsys.readouterr().err
    assert main(["repo", "check", "-c", str(conf), project, "../../etc"]) == 1
