"""Layers: when one is made, what it is made from, and which ones go."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from backend import config
from backend.builders import Buildroot, installer, resolve, roots, rpmheader
from backend.builders.installer import Job, Need
from backend.builders.sandbox import Area
from backend.exceptions import BuildError

REPO = {"id": "copr_base", "name": "a\nb", "baseurl": "http://x/", "module_hotfixes": True}
NEED = Need(
    tree="tree-1", requires=("make", "gcc > 1"), root=Buildroot(repos=(REPO,)), metadata=("a",)
)


def test_a_layer_is_that_of_all_it_is_made_from() -> None:
    same = dataclasses.replace(NEED, requires=("gcc > 1", "make"))
    assert same.key == NEED.key
    others = [
        dataclasses.replace(NEED, tree="tree-2"),
        dataclasses.replace(NEED, requires=("make",)),
        dataclasses.replace(NEED, metadata=("b",)),
        dataclasses.replace(NEED, root=Buildroot(repos=(REPO,), packages=("bash",))),
        dataclasses.replace(NEED, root=Buildroot(repos=(REPO,), modules=("enable a:1",))),
        dataclasses.replace(NEED, root=Buildroot(repos=({**REPO, "priority": 1},))),
    ]
    assert len({NEED.key, *(one.key for one in others)}) == 7


def test_what_dnf_reads_cannot_be_more_than_it_says() -> None:
    files = installer._files(dataclasses.replace(NEED, requires=("a%{nil}b",)))
    assert files["repos/copr_base.repo"].splitlines()[4:] == [
        "name=a b",
        "baseurl=http://x/",
        "module_hotfixes=1",
    ]
    assert "BuildRequires: a%%{nil}b\n" in files["needs.spec"]


@pytest.mark.parametrize(
    "root",
    [
        Buildroot(packages=("--installroot=/",)),
        Buildroot(packages=("a\nb",)),
        Buildroot(modules=("-x",)),
        Buildroot(repos=({**REPO, "id": "../x"},)),
    ],
)
def test_options_and_second_lines_are_refused(root: Buildroot) -> None:
    with pytest.raises(BuildError, match="refused"):
        installer._files(dataclasses.replace(NEED, root=root))


def test_only_web_addresses_are_asked_for_their_state() -> None:
    assert resolve._fingerprint("file:///etc") == ""
    assert resolve._fingerprint("http://127.0.0.1:1/") == ""


class Farm:
    """Layers without dnf: they are counted."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = top / "copr-be.conf"
        path.write_text(f"[backend]\nstatedir={top}/state\n")
        self.config = config.load(path)
        self.config.statedir.mkdir()
        self.tree = top / "tree"
        self.tree.mkdir()
        self.area = Area(path=top, uid=os.getuid())
        self.made = 0
        monkeypatch.setattr(installer, "run", self.step)
        monkeypatch.setattr(os, "chown", lambda *_args, **_kwargs: None)
        monkeypatch.setattr(rpmheader, "read", lambda *_args, **_kwargs: self)
        self.needs = ["gcc"]

    def requires(self) -> list[str]:
        """Of the source package: this stands for its header, too."""
        return self.needs

    def step(self, _job: Job, _need: Need, _new: Path, step: str) -> None:
        self.made += step == "install"

    @contextlib.contextmanager
    def layer(self, **root: Any) -> Iterator[tuple[Path, ...]]:
        other = cast(Any, type("Other", (), {"tree": self.tree, "buildroot": Buildroot(**root)}))
        job = Job(config=self.config, bench=other, area=self.area, request=other, log=other)
        with resolve.layer(job) as trees:
            yield trees


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Farm:
    return Farm(tmp_path, monkeypatch)


def test_the_same_needs_are_installed_once(farm: Farm) -> None:
    with farm.layer() as first, farm.layer() as second:
        assert first == second
        assert first[1] == farm.tree
        assert first[0].is_dir()
    with farm.layer(packages=("make",)) as third:
        assert third != first
    assert farm.made == 2


def test_without_needs_the_root_is_enough(farm: Farm) -> None:
    farm.needs = []
    with farm.layer() as trees:
        assert trees == (farm.tree,)
    assert farm.made == 0


def test_an_old_layer_is_made_again_while_a_build_uses_it(farm: Farm) -> None:
    with farm.layer() as trees:
        (trees[0] / "file").touch()
        old = time.time() - resolve.OLDEST - 1
        os.utime(trees[0].parent / "made", (old, old))
        with farm.layer() as fresh:
            assert not (fresh[0] / "file").exists()
        resolve.sweep(farm.config.statedir / "layers")
        (old_one,) = (farm.config.statedir / "layers").glob("old-*")
        assert (old_one / "upper/file").exists()  # the build that uses it still has it
    assert farm.made == 2


def test_a_failure_leaves_nothing(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise BuildError("dependencies: no")

    monkeypatch.setattr(installer, "run", fail)
    with pytest.raises(BuildError), farm.layer():
        pass
    assert list((farm.config.statedir / "layers").iterdir()) == []


def test_those_not_used_for_longest_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "KEEP", 2)
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "used").touch()
        os.utime(tmp_path / str(number) / "used", (1000 + number, 1000 + number))
    (tmp_path / "new-x").mkdir()
    with roots.held(tmp_path / "0"):
        resolve.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "3", "4"]
