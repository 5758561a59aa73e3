"""Work directories go away: plainly as a rule, by the build's own user where that fails."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from backend import config
from backend.builders import tidy
from backend.builders.sandbox import Area, Sandbox


class Box:
    """A sandbox that does what it is asked, without a sandbox, and counts."""

    def __init__(self) -> None:
        self.runs = 0

    @contextlib.contextmanager
    def command(self, area: Area, argv: list[str], *, binds: list[str]) -> Iterator[Any]:
        self.area = area.path
        yield self

    def run(self, timeout: float) -> None:
        self.runs += 1
        for name in ("build", "results", "tmp", "vartmp"):
            subprocess.run(["find", self.area / name, "-mindepth", "1", "-delete"], check=True)


@pytest.fixture
def options(tmp_path: Path) -> config.Config:
    path = tmp_path / "copr-be.conf"
    path.touch()
    return config.load(path)


@pytest.fixture
def workdir(tmp_path: Path, options: config.Config) -> Path:
    path = tmp_path / "work"
    path.mkdir(mode=0o700)
    area = Area.make(options, path, 0)
    (area.path / "build" / "file").write_text("x")
    (area.path / "build" / "link").symlink_to(tmp_path)
    return path


def test_an_ordinary_tree_starts_no_program(
    tmp_path: Path, options: config.Config, workdir: Path
) -> None:
    box = Box()
    tidy.remove(options, cast(Sandbox, box), workdir, 0)
    assert not workdir.exists()
    assert box.runs == 0
    assert tmp_path.is_dir()  # the link was removed, not what it names


def test_what_is_deeper_than_python_goes_is_removed_in_the_sandbox(
    options: config.Config, workdir: Path
) -> None:
    here = os.open(workdir / "area" / "build", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    box = Box()
    tidy.remove(options, cast(Sandbox, box), workdir, 0)
    assert not workdir.exists()
    assert box.runs <= 1  # newer Pythons can do it by themselves


def test_trouble_is_passed_on(options: config.Config, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tidy.remove(options, cast(Sandbox, Box()), tmp_path / "none", 0)
