"""The work directory of a slot: lent empty, left empty, whatever was in the way before."""

from pathlib import Path
from typing import Any, cast

import pytest

from backend import workdir
from backend.builders import Builder
from backend.config import Config, load
from backend.exceptions import InfrastructureError


class Broom:
    """A builder that removes its directories, except for the stubborn one."""

    def __init__(self) -> None:
        self.stubborn = ""

    def cleanup(self, path: Path, slot: int) -> None:
        if path.name == self.stubborn:
            raise InfrastructureError("it is stubborn")
        for file in path.iterdir():
            file.unlink()
        path.rmdir()


@pytest.fixture
def options(tmp_path: Path) -> Config:
    path = tmp_path / "copr-be.conf"
    path.write_text(f"[backend]\nstatedir = {tmp_path}\n")
    return load(path)


def builder(broom: Broom) -> Builder:
    return cast(Builder, broom)


def work(options: Config, broom: Broom) -> Path:
    """One build that leaves a directory, a file and a link; where it was."""
    with workdir.lent(options, builder(broom), 3, "12") as path:
        assert not list(path.iterdir())
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "build").mkdir()
        (path / "build" / "file").touch()
        (path / "a.src.rpm").touch()
        (path / "link").symlink_to(options.statedir)
    return path


def test_it_stays_and_is_empty_for_the_next(options: Config) -> None:
    first, second = work(options, Broom()), work(options, Broom())
    assert first == second == workdir.place(options, 3)
    assert list(first.iterdir()) == []
    assert options.statedir.is_dir()


def test_what_cannot_be_removed_is_only_in_the_way(options: Config) -> None:
    broom = Broom()
    broom.stubborn = "build"
    with pytest.raises(InfrastructureError, match="stubborn"):
        work(options, broom)
    broom.stubborn = ""
    path = work(options, broom)
    assert path.parent == workdir.place(options, 3)
    assert path.name.startswith("12-")
    assert not path.exists()


def test_the_next_worker_sweeps(options: Config) -> None:
    top, said, broom = workdir.place(options, 3), list[Any](), Broom()
    for piece in ("build", "inspect", "12-abc/build"):
        (top / piece).mkdir(parents=True)
        (top / piece / "file").touch()
    (top / "a.src.rpm").touch()
    (top / "12-abc" / "a.src.rpm").touch()
    broom.stubborn = "inspect"
    workdir.sweep(options, builder(broom), 3, said.append)
    assert [path.name for path in top.iterdir()] == ["inspect"]
    assert said == [f"{top / 'inspect'} could not be removed: it is stubborn"]
    workdir.sweep(options, builder(broom), 4, said.append)  # never used: nothing to say
    assert len(said) == 1


def test_a_slot_that_cannot_be_looked_into_keeps_no_worker_from_starting(
    options: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(self: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    said: list[str] = []
    monkeypatch.setattr(Path, "iterdir", closed)
    workdir.sweep(options, builder(Broom()), 3, said.append)
    text = "cannot be swept: Permission denied; correct its owner and mode"
    assert said == [f"{workdir.place(options, 3)} {text}"]
