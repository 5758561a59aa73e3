"""A full disk: whose fault it is."""

import fcntl
import os
from collections import namedtuple
from pathlib import Path

import pytest

from backend import disk
from backend.builders import BuildRequest, stream
from backend.chroot import Chroot
from backend.exceptions import BuildError, InfrastructureError, Killed

Stat = namedtuple("Stat", "f_frsize f_blocks f_bavail f_files f_favail f_bfree")
MIB = 1024**2


def filled(
    monkeypatch: pytest.MonkeyPatch, total: int, free: int, files: int = 0, all_files: int = 0
) -> None:
    stat = Stat(4096, total // 4096, free // 4096, all_files, files, free // 4096)
    monkeypatch.setattr(os, "statvfs", lambda _path: stat)


@pytest.mark.parametrize(
    ("total", "free", "low"),
    [
        (100 * 1024 * MIB, 300 * MIB, False),
        (100 * 1024 * MIB, 200 * MIB, True),
        (1024 * MIB, 100 * MIB, False),
        (1024 * MIB, 50 * MIB, True),
        (64 * MIB, 0, True),
    ],
)
def test_a_small_file_system_keeps_a_twentieth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, free: int, low: bool
) -> None:
    filled(monkeypatch, total, free)
    assert disk.low(tmp_path) is low


@pytest.mark.parametrize(
    ("all_files", "files", "low"),
    [
        (10**7, 2500, False),
        (10**7, 2499, True),
        (20_000, 1000, False),
        (20_000, 999, True),
        (100, 100, True),
        (0, 0, False),
    ],
)
def test_a_disk_on_which_no_more_files_can_be_made_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, all_files: int, files: int, low: bool
) -> None:
    """It says "No space left on device" with gigabytes free. 0 of 0: Btrfs counts none."""
    filled(monkeypatch, 10**12, 10**11, files, all_files)
    assert disk.low(tmp_path) is low


def test_usage_counts_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * MIB)
    assert MIB <= disk.usage(tmp_path) < 2 * MIB


def test_a_build_pays_only_for_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = BuildRequest(
        srpm=tmp_path, chroot=Chroot.parse("fedora-41-x86_64"), workdir=tmp_path, slot=0,
        timeout=1, stall_timeout=1, max_log=1,
    )  # fmt: skip
    filled(monkeypatch, 20 * MIB, 0)
    with pytest.raises(InfrastructureError, match="not by this build"):
        stream.blame(request, 0)
    with pytest.raises(BuildError, match="it filled the disk"):
        stream.blame(request, 0, 2 * MIB)  # removed, and held open
    (tmp_path / "big").write_bytes(b"x" * 2 * MIB)
    with pytest.raises(BuildError, match="it filled the disk"):
        stream.blame(request, 0)


@pytest.mark.parametrize(
    ("own", "lost", "fault"),
    [
        (0, 900, None),
        (99, 100, None),  # less than the reserve
        (100, 100, BuildError),
        (100, -50, BuildError),  # others have removed more
        (450, 900, BuildError),
        (449, 900, Killed),
    ],
)
def test_a_large_build_is_not_blamed_for_what_others_fill(
    own: int, lost: int, fault: type[Exception] | None
) -> None:
    assert type(stream.guilt(own, lost, 100, "/srv")) is (fault or type(None))


def test_a_build_pays_only_for_many_files_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = BuildRequest(
        srpm=tmp_path, chroot=Chroot.parse("fedora-41-x86_64"), workdir=tmp_path, slot=0,
        timeout=1, stall_timeout=1, max_log=1,
    )  # fmt: skip
    filled(monkeypatch, 10**12, 10**11, 0, 100_000)
    (tmp_path / "few").touch()
    with pytest.raises(InfrastructureError, match="not by this build"):
        stream.blame(request, 0)
    for number in range(2000):
        (tmp_path / str(number)).touch()
    with pytest.raises(BuildError, match="it filled the disk with files"):
        stream.blame(request, 0)


def test_spread_adds_one_flag_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are those of FS_IOC_GETFLAGS and FS_IOC_SETFLAGS with a 64-bit long."""
    calls = []

    def ioctl(_fd: int, request: int, data: bytes | bytearray) -> None:
        calls.append(request)
        if isinstance(data, bytearray):
            data[:] = (0x80000).to_bytes(8, "little")
        else:
            assert data == (0xA0000).to_bytes(8, "little")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    disk.spread(tmp_path)
    assert calls == [0x80086601, 0x40086602]


def test_spread_is_harmless_where_it_is_not_known(tmp_path: Path) -> None:
    disk.spread(tmp_path / "none")
    disk.spread(Path("/proc/self"))
    disk.spread(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_new_parent_is_spread_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spread: list[Path] = []
    monkeypatch.setattr(disk, "spread", spread.append)
    for name in ("a/b/1", "a/b/2"):
        disk.make_directory(tmp_path / name, spread_out=True)
    disk.make_directory(tmp_path / "c/d")
    assert spread == [tmp_path / "a/b"]
    assert (tmp_path / "a/b/2").stat().st_mode & 0o777 == 0o755


def test_a_closed_directory_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    assert not disk.closed(tmp_path)
    assert not disk.closed(tmp_path / "gone")
    scandir = os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)  # root reads everything
    assert disk.closed(tmp_path)
