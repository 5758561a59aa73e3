"""A farm, the area of a build in it, and the root that it builds in."""

from pathlib import Path

import pytest

from backend import config


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    path = tmp_path / "copr-be.conf"
    path.write_text(f"[backend]\nstatedir={tmp_path}/state\n")
    return config.load(path)


@pytest.fixture
def area(settings: config.Config) -> Path:
    path = settings.statedir / "work/3/build/area"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    (path / "etc").mkdir(parents=True)
    return path
