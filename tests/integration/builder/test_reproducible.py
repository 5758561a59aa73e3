"""What a build tells of itself, and that the next one comes to the same."""

import os
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from backend.builders import LOGS, Artifact, Package, headers, rpmheader
from backend.builders.rpmbuild import RpmbuildBuilder
from tests.integration.builder.tiny import FILES, Watcher, request_of, source

pytestmark = pytest.mark.rpmbuild


def test_a_known_source_package_is_not_read_again(
    tmp_path: Path,
    builder: RpmbuildBuilder,
    workdir: Path,
    watcher: Watcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    srpm = source(tmp_path)
    package = Package(name="tiny", epoch=2, version="1.0", release="1", arch="src")
    monkeypatch.setattr(headers, "inspect", None)  # to call it would fail
    request = request_of(builder, srpm, workdir, source=package)
    artifacts = builder.build(request, watcher)
    assert artifacts[-1].package == package
    assert artifacts[-1].path.name == "tiny-1.0-1.src.rpm"


NOISY = "date +%s.%N; cat /proc/sys/kernel/random/uuid"


CHANGES = "%changelog\n* Thu Jan 02 2020 A <a@b.example> - 1.0-1\n- One\n"


def _digests(artifacts: tuple[Artifact, ...]) -> dict[str, str]:
    return {one.path.name: sha256(one.path.read_bytes()).hexdigest() for one in artifacts}


@pytest.mark.parametrize(("changes", "time"), [(CHANGES, 1577923200), ("", None)])
def test_the_same_source_gives_the_same_rpms(
    builder: RpmbuildBuilder, tmp_path: Path, changes: str, time: int | None, watcher: Watcher
) -> None:
    srpm = source(
        tmp_path, build=f"echo {os.urandom(8).hex()}; {NOISY}", files=FILES + f"\n{changes}"
    )
    seen = []
    for number in (1, 2):
        work = tmp_path / f"work{number}"
        work.mkdir(mode=0o700)
        artifacts = builder.build(request_of(builder, srpm, work), watcher)
        seen.append(_digests(artifacts))
        header = rpmheader.read(artifacts[0].path)
        assert header.numbers(rpmheader.BUILDTIME) == [time or _made(srpm)]
        assert header.text(1007) == "copr-backend"  # BUILDHOST
        assert max(header.numbers(1034)) <= (time or _made(srpm))  # FILEMTIMES
        builder.cleanup(work, number)
    assert seen[0] == seen[1]
    assert len(seen[0]) == 2


def test_reproducible_builds_can_be_switched_off(
    builder: RpmbuildBuilder, tmp_path: Path, workdir: Path, watcher: Watcher
) -> None:
    srpm = source(tmp_path, files=f"{FILES}\n{CHANGES}")
    request = replace(request_of(builder, srpm, workdir), reproducible=False)
    header = rpmheader.read(builder.build(request, watcher)[0].path)
    assert header.numbers(rpmheader.BUILDTIME)[0] > 1577923200
    assert b"SOURCE_DATE_EPOCH" not in watcher.log


def _made(srpm: Path) -> int:
    return rpmheader.read(srpm).numbers(rpmheader.BUILDTIME)[0]


def test_the_packages_that_a_build_finds_are_listed(
    builder: RpmbuildBuilder, tmp_path: Path, workdir: Path, watcher: Watcher
) -> None:
    builder.build(request_of(builder, source(tmp_path), workdir), watcher)
    lines = (workdir / LOGS / "installed_pkgs.log").read_text().splitlines()
    assert lines == sorted(lines)
    assert all(re.fullmatch(r"\S+ \S+ \d+ \S+ installed", line) for line in lines)
    assert [line for line in lines if re.match(r"bash[-_]\d", line)]
