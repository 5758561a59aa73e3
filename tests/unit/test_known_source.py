"""A source package that our own source build has read is not read again."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from backend.builders import Package
from backend.config import Config
from backend.results import ResultDir
from backend.rpmtask import known_source

DOCUMENT = {"name": "hello", "epoch": 3, "version": "2.8", "release": "1"}


def config(destdir: Path) -> Config:
    return cast(Config, SimpleNamespace(destdir=destdir))


def source_build(path: Path, document: dict[str, object], success: bool = True) -> Path:
    result = ResultDir(path)
    result.open("attempt 1")
    result.write_json(document)
    if success:
        result.mark_success()
    result.close()
    return path


@pytest.mark.parametrize("arch", ["src", "nosrc"])
def test_its_identity_is_that_of_the_results(tmp_path: Path, arch: str) -> None:
    path = source_build(tmp_path / "r", DOCUMENT)
    srpm = path / f"hello-2.8-1.{arch}.rpm"
    assert known_source(config(tmp_path), srpm) == Package(
        name="hello", epoch=3, version="2.8", release="1", arch=arch
    )


def test_anything_doubtful_is_looked_at_again(tmp_path: Path) -> None:
    here = config(tmp_path)
    good = source_build(tmp_path / "good", DOCUMENT)
    assert known_source(here, good / "other-2.8-1.src.rpm") is None
    assert known_source(config(tmp_path / "elsewhere"), good / "hello-2.8-1.src.rpm") is None
    unfinished = source_build(tmp_path / "unfinished", DOCUMENT, success=False)
    assert known_source(here, unfinished / "hello-2.8-1.src.rpm") is None
    rpm_build = source_build(tmp_path / "rpms", {"packages": []})
    assert known_source(here, rpm_build / "hello-2.8-1.src.rpm") is None
    assert known_source(here, tmp_path / "none" / "hello-2.8-1.src.rpm") is None
