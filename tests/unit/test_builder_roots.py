"""Roots: which tree serves which chroot, what is shown of it, and how they come and go."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend import config
from backend.builders import rootmake, roots, view
from backend.builders.rootmake import Order
from backend.builders.view import Root
from backend.exceptions import ConfigError, CoprBackendError, ToolError
from backend.process import Child, find
from tests.conftest import wait_until

NAME = "debian-13-x86_64"


def settings(tmp_path: Path, text: str = "") -> config.Config:
    path = tmp_path / "copr-be.conf"
    path.write_text(f"[backend]\nstatedir={tmp_path}/state\n[builder]\n{text}\n")
    return config.load(path)


def tree_of(path: Path) -> Root:
    return Root(trees=(path,), shown="{}/root")


# --- which ------------------------------------------------------------------------------------


def test_the_host_serves_its_own_chroot(tmp_path: Path) -> None:
    found = roots.served(settings(tmp_path, "chroot=debian-12-x86_64"))
    assert {str(chroot): one.tree for chroot, one in found.items()} == {"debian-12-x86_64": None}


def test_a_root_tells_its_chroot_by_itself(tmp_path: Path) -> None:
    (tmp_path / "tree/usr/lib").mkdir(parents=True)
    (tmp_path / "tree/usr/lib/os-release").write_text('ID=fedora\nVERSION_ID="41"\n')
    found = roots.served(settings(tmp_path, f"root={tmp_path}/tree\nroots=a-1-x86_64=/srv/a"))
    assert [(c.name_release, str(one.tree)) for c, one in found.items()] == [
        ("fedora-41", f"{tmp_path}/tree"),
        ("a-1", "/srv/a"),
    ]


@pytest.mark.parametrize("text", ["roots=nonsense=/srv/a", "roots=a-1-x86_64=relative"])
def test_bad_roots_are_refused_with_the_form(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"\[builder\] roots = .*(chroot name|CHROOT=/)"):
        settings(tmp_path, text)


# --- what is shown ----------------------------------------------------------------------------


def test_links_out_of_a_root_lead_nowhere(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "etc").symlink_to("/etc")
    (tree / "var").symlink_to("/")
    (tree / "opt").symlink_to("/root")
    root = tree_of(tree)
    words = [word for word in view.system(root) if isinstance(word, str)]
    shown = [words[i + 1] for i, word in enumerate(words) if word.startswith("--ro-bind")]
    assert shown == ["{}/root/usr", "/sys/devices/system/cpu"]
    assert root.names("etc") == []
    assert root.lookup("etc/shadow") is None


def test_a_link_in_place_of_usr_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "usr").symlink_to("/usr")
    with pytest.raises(ToolError, match="is no root"):
        view.system(tree_of(tmp_path))


# --- how they come and go ---------------------------------------------------------------------


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A debootstrap that does what a test says; `unshare` and the rest are real or left out."""
    script = tmp_path / "debootstrap"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *_args, **_kwargs: None)  # only root may
    monkeypatch.setattr(rootmake, "_run", _run_plain)
    monkeypatch.setattr(
        rootmake, "find", lambda name: str(script) if name == "debootstrap" else find(name)
    )

    def does(text: str) -> None:
        script.write_text(f"#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\n{text}\n")
        script.chmod(0o755)

    return does


def _run_plain(argv: list[str]) -> None:
    with Child(argv) as child:
        if child.wait(300):
            raise CoprBackendError("debootstrap failed")


GOOD = 'mkdir -p "$1/usr/bin" "$1/etc"; touch "$1/usr/bin/rpmbuild" "$1/etc/resolv.conf"'


def test_a_root_is_made_updated_and_removed(tmp_path: Path, tools: Callable[[str], None]) -> None:
    made = settings(tmp_path, "chroot=debian-12-x86_64")
    tools(GOOD)
    first = rootmake.make(made, NAME, Order())
    assert [one.tree for one in roots.served(made).values()] == [None, first]
    assert not (first / "etc/resolv.conf").exists()
    assert Order.of(roots.read(first.parent)).suite == "trixie"
    second = rootmake.make(made, NAME, Order())
    assert second != first
    assert [path.name for path in second.parent.glob("tree-*")] == [second.name]
    assert rootmake.remove(made, NAME) == []
    assert not second.parent.exists()


def test_a_tree_that_a_build_uses_stays_until_it_ends(
    tmp_path: Path, tools: Callable[[str], None]
) -> None:
    made = settings(tmp_path)
    tools(GOOD)
    tree = rootmake.make(made, NAME, Order())
    with roots.held(tree):
        assert rootmake.remove(made, NAME) == [tree.name]
        assert tree.is_dir()
    assert rootmake.sweep(tree.parent) == []
    assert not tree.exists()


def test_the_last_build_takes_a_tree_that_was_replaced_with_it(
    tmp_path: Path, tools: Callable[[str], None]
) -> None:
    made = settings(tmp_path)
    tools(GOOD)
    tree = rootmake.make(made, NAME, Order())
    rootmake.retire(made, tree)
    assert tree.is_dir()  # it counts
    with roots.held(tree), roots.held(tree):
        new = rootmake.make(made, NAME, Order())
        rootmake.retire(made, tree)
        assert tree.is_dir()  # another build uses it
    rootmake.retire(made, tree)
    assert list(tree.parent.glob("tree-*")) == [new]
    with roots.held(new):
        rootmake.remove(made, NAME)
    rootmake.retire(made, new)
    assert not new.parent.exists()
    foreign = tmp_path / "srv" / NAME / "tree"
    foreign.mkdir(parents=True)
    for one in (None, new, foreign):
        rootmake.retire(made, one)
    assert foreign.is_dir()
    with pytest.raises(FileNotFoundError), roots.held(new):
        pass


def test_a_failure_leaves_the_old_root(tmp_path: Path, tools: Callable[[str], None]) -> None:
    made = settings(tmp_path)
    tools(GOOD)
    tree = rootmake.make(made, NAME, Order())
    tools('mkdir -p "$1/usr"; exit 3')
    with pytest.raises(CoprBackendError, match="failed"):
        rootmake.make(made, NAME, Order())
    tools('mkdir -p "$1/usr"')
    with pytest.raises(CoprBackendError, match="has no rpmbuild"):
        rootmake.make(made, NAME, Order())
    assert [path.name for path in tree.parent.iterdir() if path.is_dir()] == [tree.name]
    assert roots.made(made)[NAME]["tree"] == tree.name


def test_what_a_killed_maker_left_is_removed_by_the_next(tmp_path: Path) -> None:
    home = tmp_path / NAME
    (home / "tree-1/usr").mkdir(parents=True)
    program = (
        "import fcntl, os, sys\nfd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX)\nprint('locked', flush=True)\nsys.stdin.read()"
    )
    read, write = os.pipe()
    stdin, keep = os.pipe()
    with Child(
        [sys.executable, "-c", program, str(home / "tree-1")], stdin=stdin, stdout=write
    ) as one:
        assert os.read(read, 100) == b"locked\n"
        assert rootmake.sweep(home) == ["tree-1"]  # somebody makes it
        one.signal(signal.SIGKILL)
        wait_until(lambda: one.poll() is not None)
        assert rootmake.sweep(home) == []
    for fd in (read, write, stdin, keep):
        os.close(fd)
    assert list(home.iterdir()) == []


def test_no_suite_is_guessed(tmp_path: Path, tools: Callable[[str], None]) -> None:
    with pytest.raises(CoprBackendError, match=r"no suite is known for mint-3 .*--suite.*--repo"):
        rootmake.make(settings(tmp_path), "mint-3-x86_64", Order())


def test_half_a_description_counts_as_none(tmp_path: Path) -> None:
    home = tmp_path / "state/roots" / NAME
    (home / "tree-1").mkdir(parents=True)
    for text in ("{", json.dumps({"tree": "tree-2"}), json.dumps({"tree": 3}), "[]"):
        (home / roots.ABOUT).write_text(text)
        assert roots.made(settings(tmp_path)) == {}
