"""Collecting results of a hostile build, and finding the line that says why one failed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.builders import collect
from backend.builders.stream import decisive_line
from backend.exceptions import BuildError

NAME = "a-1-1.noarch.rpm"


def _take(tmp_path: Path, fill: Callable[[Path], object]) -> tuple[tuple[str, ...], Path]:
    results, out = tmp_path / "results", tmp_path / "out"
    results.mkdir()
    out.mkdir()
    fd = collect.open_directory(results)
    try:
        fill(results)
        return collect.take(fd, out), out
    finally:
        os.close(fd)


def test_plain_files_are_moved_and_get_our_mode(tmp_path: Path) -> None:
    def fill(results: Path) -> None:
        (results / NAME).write_bytes(b"x")
        (results / NAME).chmod(0o4000)

    names, out = _take(tmp_path, fill)
    assert names == (NAME,)
    assert (out / NAME).stat().st_mode == 0o100644
    assert not list((tmp_path / "results").iterdir())


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (lambda d: (d / NAME).symlink_to("/etc/passwd"), "not a regular file"),
        (lambda d: os.mkfifo(d / NAME), "not a regular file"),
        (lambda d: (d / NAME).mkdir(), "not a regular file"),
        (lambda d: ((d / NAME).touch(), (d / "b.rpm").hardlink_to(d / NAME)), "hard links"),
        (lambda d: (d / "new\nline.rpm").touch(), "no usual name"),
        (lambda d: (d / "-rf.rpm").touch(), "no usual name"),
        (lambda d: (d / "a-%{ver}-1.noarch.rpm").touch(), "no usual name"),
        (lambda d: (d / "results.json").touch(), "no usual name"),
    ],
)
def test_anything_else_is_refused(
    tmp_path: Path, fill: Callable[[Path], object], reason: str
) -> None:
    with pytest.raises(BuildError, match=reason):
        _take(tmp_path, fill)
    assert not list((tmp_path / "out").iterdir())


def test_the_opened_directory_counts_not_its_name(tmp_path: Path) -> None:
    def fill(results: Path) -> None:
        results.rename(tmp_path / "moved")
        results.symlink_to("/etc")

    assert _take(tmp_path, fill)[0] == ()


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (
            b"+ false\nerror: Bad exit status from /var/tmp/x (%build)\n\nRPM build errors:\n"
            b"    line 3: odd\n    Bad exit status from /var/tmp/x (%build)\n",
            "Bad exit status from /var/tmp/x (%build)",
        ),
        (
            b"RPM build errors:\n    Installed (but unpackaged) file(s) found:\n   /a\n   /b\n",
            "Installed (but unpackaged) file(s) found: /a /b",
        ),
        (
            b"error: Architecture is not included: x86_64\n",
            "Architecture is not included: x86_64",
        ),
        (  # rpm 4.20
            b"error: Architecture is not included: x86_64\nerror: parsing failed\n",
            "Architecture is not included: x86_64",
        ),
        (
            b"RPM build errors:\n    Architecture is not included: x\n    parsing failed\n    \n",
            "Architecture is not included: x",
        ),
        (b"something\n\n", "something"),
        (b"", "no output at all"),
    ],
)
def test_decisive_line(log: bytes, line: str) -> None:
    assert decisive_line(log) == line


def test_logs_are_copied_and_nothing_is_followed(tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "out"
    results.mkdir()
    out.mkdir()
    (results / "root.log").write_bytes(b"0123456789")
    (results / "link.log").symlink_to("/etc/passwd")
    os.mkfifo(results / "pipe.log")
    (results / "dir.log").mkdir()
    (results / "twice.log").write_bytes(b"x")
    os.link(results / "twice.log", results / "again.log")
    (results / "odd name.log").write_bytes(b"x")
    (results / "state.json").write_bytes(b"x")
    fd = collect.open_directory(results)
    try:
        assert collect.take_logs(fd, out, 4) == ("root.log",)
    finally:
        os.close(fd)
    assert (out / "root.log").read_bytes() == b"6789"
    assert [path.name for path in out.iterdir()] == ["root.log"]


def test_what_is_no_package_may_stay(tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "out"
    results.mkdir()
    out.mkdir()
    (results / NAME).write_bytes(b"x")
    (results / "chroot_scan").mkdir()
    fd = collect.open_directory(results)
    try:
        assert collect.take(fd, out, others=True) == (NAME,)
    finally:
        os.close(fd)


def test_a_directory_that_the_build_has_closed_is_opened_again(tmp_path: Path) -> None:
    """An ordinary user is the build's user: it would be the farm's fault, and tried for ever."""

    def fill(results: Path) -> None:
        (results / NAME).write_bytes(b"x")
        results.chmod(0)

    names, _ = _take(tmp_path, fill)
    assert names == (NAME,)
    assert (tmp_path / "results").stat().st_mode & 0o777 == 0o700
