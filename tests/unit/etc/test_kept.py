"""/etc of the builds: how one directory serves one build after the other."""

import os
import shutil
from pathlib import Path

import pytest

from backend import config
from backend.builders import etc, etcplan
from backend.builders.view import Root
from tests.unit.etc.places import shown


def test_the_next_build_of_the_slot_gets_the_same_directory(
    settings: config.Config, area: Path, tree: Path
) -> None:
    first = shown(settings, area, tree)
    inode = first.stat().st_ino
    assert shown(settings, area, tree).stat().st_ino == inode  # a second program of this build
    etc.take_back(settings, area, 3)
    assert list(area.iterdir()) == []
    assert shown(settings, area, tree).stat().st_ino == inode


@pytest.mark.parametrize("what", ["changed", "added", "removed", "closed"])
def test_what_has_changed_is_made_anew(
    what: str, settings: config.Config, area: Path, tree: Path
) -> None:
    issue = tree / "etc/issue"
    issue.write_text("one\n")
    assert (shown(settings, area, tree) / "issue").read_text() == "one\n"
    etc.take_back(settings, area, 3)
    if what == "changed":
        issue.write_text("other\n")
    elif what == "added":
        (tree / "etc/motd").write_text("other\n")
    elif what == "removed":
        issue.unlink()
    else:
        issue.chmod(0o600)
    place = shown(settings, area, tree)
    texts = [path.read_text() for path in (place / "issue", place / "motd") if path.exists()]
    assert texts == {"changed": ["other\n"], "added": ["one\n", "other\n"]}.get(what, [])


def test_only_the_last_few_are_kept_and_none_after_a_start(
    settings: config.Config, area: Path, tree: Path
) -> None:
    kept = settings.statedir / "sandbox-etc"
    for number in range(20):
        (tree / "etc" / str(number)).touch()
        shown(settings, area, tree)
        etc.take_back(settings, area, 3)
    assert 1 < len(list(kept.iterdir())) <= 8
    etc.forget_all(settings)
    assert not kept.exists()
    etc.forget_all(settings)


def test_one_that_was_not_finished_is_not_lent(
    settings: config.Config, area: Path, tree: Path
) -> None:
    (area / "new-etc").mkdir()
    (area / "new-etc/passwd").touch()
    place = shown(settings, area, tree)
    assert "builder" in (place / "passwd").read_text()
    assert not (area / "new-etc").exists()


def test_a_directory_is_made_once_the_same_serves_again(
    settings: config.Config, area: Path, tree: Path
) -> None:
    """A layer of dependencies may be there for one build."""
    root = Root(trees=(tree,), shown="{}/root")
    assert "--file" in etc.show(settings, root, net=False, area=area, slot=3)
    assert list(area.iterdir()) == []
    assert "--file" not in etc.show(settings, root, net=False, area=area, slot=3)
    etc.take_back(settings, area, 3)
    etc._used.clear()  # as in another process
    assert "--file" not in etc.show(settings, root, net=False, area=area, slot=3)


def test_what_was_made_before_a_power_cut_is_not_used(
    settings: config.Config, area: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shown(settings, area, tree).name
    etc.take_back(settings, area, 3)
    text = etcplan._text
    monkeypatch.setattr(etcplan, "_plans", {})
    monkeypatch.setattr(etcplan, "_text", lambda p: "new" if p.name == "boot_id" else text(p))
    assert shown(settings, area, tree).name != first


class Killed(BaseException):
    """The worker was."""


def half_removed(path: Path, **_: object) -> None:
    """shutil.rmtree of a worker that is killed meanwhile."""
    for found in path.rglob("passwd"):
        found.unlink()
        raise Killed


def test_one_of_which_a_killed_worker_removed_a_part_is_not_lent_to_the_next(
    settings: config.Config, area: Path, tree: Path
) -> None:
    first = shown(settings, area, tree)
    etc.take_back(settings, area, 3)
    first.mkdir()  # of another process
    (first / "passwd").touch()
    etc.take_back(settings, area, 3)
    with pytest.raises(Killed):
        half_removed(area)
    shutil.rmtree(settings.statedir / "sandbox-etc")
    etc.take_back(settings, area, 3)
    assert (shown(settings, area, tree) / "passwd").exists()


def test_one_that_a_killed_worker_forgot_half_is_not_lent_again(
    settings: config.Config, area: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = settings.statedir / "sandbox-etc"
    killed = 0
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, **_: half_removed(path))
        for number in range(20):
            (tree / "etc/issue").write_text("x" * number)
            try:
                shown(settings, area, tree)
            except Killed:
                killed += 1
            etc.take_back(settings, area, 3)
    assert killed
    assert all((path / "passwd").exists() for path in kept.glob("3-*"))
    (tree / "etc/issue").write_text("other")
    etc.take_back(settings, area, 3)
    shown(settings, area, tree)
    assert all((path / "passwd").exists() for path in kept.iterdir())


def test_the_one_used_last_is_kept(
    settings: config.Config, area: Path, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "often/etc").mkdir(parents=True)
    often = shown(settings, area, tmp_path / "often").stat().st_ino
    for number in range(10):
        (tree / "etc" / str(number)).touch()
        shown(settings, area, tree)
        etc.take_back(settings, area, 3)
        for path in (settings.statedir / "sandbox-etc").iterdir():
            if path.stat().st_ino != often:
                os.utime(path, (number + 2, number + 2))
        again = shown(settings, area, tmp_path / "often")
        assert again.stat().st_ino == often
        os.utime(again, (1, 1))  # it was made before all the others
        etc.take_back(settings, area, 3)


def test_a_resolver_behind_a_link_is_read_again_when_it_changes(
    settings: config.Config, area: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the machine's network is managed, /etc/resolv.conf is a link to a file that changes."""
    target, link = tmp_path / "stub", tmp_path / "resolv.conf"
    link.symlink_to(target)
    monkeypatch.setattr(etcplan, "RESOLVER", link)
    for text in ("nameserver 10.0.0.1\n", "nameserver 10.0.0.2\n"):
        target.write_text(text)
        assert (shown(settings, area, tree, net=True) / "resolv.conf").read_text() == text


def test_a_file_with_the_times_of_another_is_told_from_it(
    settings: config.Config, area: Path, tree: Path
) -> None:
    issue = tree / "etc/issue"
    for text in ("one\n", "two\n"):
        issue.write_text(text)
        os.utime(issue, (1, 1))
        assert (shown(settings, area, tree) / "issue").read_text() == text


def test_what_changes_while_it_is_copied_is_for_one_build(
    settings: config.Config, area: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue, content = tree / "etc/issue", etcplan.Piece.content
    issue.write_text("one\n")
    root, reads = Root(trees=(tree,), shown=""), []

    def changing(piece: etcplan.Piece) -> bytes:
        reads.append(piece.path)
        if reads.count("issue") == 2:  # by the first that makes a directory
            issue.write_text("other\n")
        return content(piece)

    monkeypatch.setattr(etcplan.Piece, "content", changing)
    for _ in range(2):
        words = etc.show(settings, root, net=False, area=area, slot=3)
    place = area / str(words[1]).removeprefix("{}/")
    assert (place / "issue").read_text() == "other\n"
    etc.take_back(settings, area, 3)
    assert not (settings.statedir / "sandbox-etc").exists()


@pytest.mark.parametrize("what", ["file", "link"])
def test_what_is_no_directory_is_not_lent(
    what: str, settings: config.Config, area: Path, tree: Path, tmp_path: Path
) -> None:
    place = shown(settings, area, tree)
    etc.take_back(settings, area, 3)
    (kept,) = (settings.statedir / "sandbox-etc").iterdir()
    shutil.rmtree(kept)
    if what == "file":
        kept.touch()
    else:
        kept.symlink_to(tmp_path)
    assert shown(settings, area, tree) == place
    assert place.is_dir()
    assert not place.is_symlink()
    assert tmp_path.is_dir()


@pytest.mark.parametrize("times", [1, 99])
def test_what_changes_while_it_is_read_is_read_again(
    times: int, settings: config.Config, area: Path, tree: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It must not pass for what is there: the resolver would be the old one until it changes."""
    link, stamps = tmp_path / "resolv.conf", etcplan._stamps
    changes: list[int] = []
    link.write_text("old\n")
    monkeypatch.setattr(etcplan, "RESOLVER", link)

    def changed(paths: list[str]) -> list[object]:
        if len(changes) < times:
            changes.append(1)
            link.write_text(f"new {len(changes)}\n")
        return stamps(paths)

    root = Root(trees=(tree,), shown="{}/root")
    with monkeypatch.context() as patch:
        patch.setattr(etcplan, "_stamps", changed)
        etc.show(settings, root, net=True, area=area, slot=3)
    place = shown(settings, area, tree, net=True)
    assert (place / "resolv.conf").read_text() == link.read_text()


def test_a_farm_that_is_killed_while_it_forgets_leaves_nothing_half(
    settings: config.Config, area: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown(settings, area, tree)
    etc.take_back(settings, area, 3)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, **_: half_removed(path))
        with pytest.raises(Killed):
            etc.forget_all(settings)
    assert (shown(settings, area, tree) / "passwd").exists()
    etc.forget_all(settings)
    assert [path.name for path in settings.statedir.iterdir()] == ["work"]
