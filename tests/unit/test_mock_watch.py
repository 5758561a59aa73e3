"""What a build in mock uses up outside its root: mock copies its packages out of it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from backend import config, disk
from backend.builders.mockclean import Traces
from backend.builders.mockwatch import MockWatch
from backend.exceptions import BuildError, InfrastructureError, Killed

MIB = 1024**2


@pytest.fixture
def traces(tmp_path: Path) -> Traces:
    (tmp_path / "lib" / "r-0" / "root" / "builddir").mkdir(parents=True)
    (tmp_path / "result").mkdir()
    (tmp_path / "copr-be.conf").write_text(f"[backend]\nstatedir = {tmp_path}\n")
    return Traces(root="r", extension="0", basedir=str(tmp_path / "lib"), include="")


def watch(tmp_path: Path, traces: Traces, most: int = 0) -> MockWatch:
    settings = replace(config.load(tmp_path / "copr-be.conf"), builder_max_disk=most)
    return MockWatch(settings, traces, tmp_path / "result", os.getpid())


def test_what_mock_copies_counts(tmp_path: Path, traces: Traces) -> None:
    (tmp_path / "result" / "x.rpm").write_bytes(b"x" * 2 * MIB)
    with (
        pytest.raises(BuildError, match=r"disk limit of 1 MB \(max_disk\)"),
        watch(tmp_path, traces, MIB) as strict,
    ):
        strict.check()
    with watch(tmp_path, traces, 100 * MIB) as mild:
        mild.check()


def test_a_full_disk_is_whose_files_fill_it(
    tmp_path: Path, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "result"
    monkeypatch.setattr(disk, "low", lambda path: path == results)
    monkeypatch.setattr(disk, "reserve", lambda path: MIB)
    with watch(tmp_path, traces) as others:
        with pytest.raises(InfrastructureError, match=f"disk of {results} is nearly full"):
            others.check()
        (results / "x.rpm").write_bytes(b"x" * 2 * MIB)
        with pytest.raises(BuildError, match="it filled the disk"):
            others.check()
    monkeypatch.setattr(disk, "low", lambda path: path != results)
    (results / "x.rpm").unlink()
    with (
        watch(tmp_path, traces) as roots,
        pytest.raises(InfrastructureError, match=f"disk of {traces.basedir} is nearly full"),
    ):
        roots.check()


def test_the_first_mock_makes_the_base_directory(tmp_path: Path, traces: Traces) -> None:
    with watch(tmp_path, replace(traces, basedir=str(tmp_path / "new"))) as first:
        first.check()


def test_a_large_package_is_not_blamed_for_what_others_fill(
    tmp_path: Path, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "result" / "x.rpm").write_bytes(b"x" * 2 * MIB)
    monkeypatch.setattr(disk, "low", lambda _path: True)
    monkeypatch.setattr(disk, "reserve", lambda _path: MIB)
    free = iter((100 * MIB, 100 * MIB, 10 * MIB))
    monkeypatch.setattr(disk, "free", lambda _path: next(free))
    with watch(tmp_path, traces) as crowd, pytest.raises(Killed, match="mostly by others"):
        crowd.check()
