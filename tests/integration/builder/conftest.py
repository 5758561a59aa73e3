"""The builder, a directory for a build, and who watches it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import config
from backend.builders import Artifact
from backend.builders.rpmbuild import RpmbuildBuilder
from tests.integration.builder.tiny import Build, Watcher, request_of


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> RpmbuildBuilder:
    path = tmp_path_factory.mktemp("conf") / "copr-be.conf"
    path.write_text("[backend]\n[builder]\nmax_file=64M\n")
    made = RpmbuildBuilder(config.load(path))
    made.preflight()
    return made


@pytest.fixture
def workdir(builder: RpmbuildBuilder, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "work"
    path.mkdir(mode=0o700)
    yield path
    builder.cleanup(path, 0)
    assert not path.exists()


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    yield made
    made.close()


@pytest.fixture
def build(builder: RpmbuildBuilder, workdir: Path, watcher: Watcher) -> Build:
    def run(
        srpm: Path, *, timeout: int = 60, stall: int = 60, max_log: int = 10**6
    ) -> tuple[Artifact, ...]:
        limits = {"timeout": timeout, "stall_timeout": stall, "max_log": max_log}
        return builder.build(request_of(builder, srpm, workdir, **limits), watcher)

    return run
