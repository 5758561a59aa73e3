"""Result directories: what is kept of earlier attempts, atomic files, logs, JSON shapes."""

import gzip
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import resultsjson
from backend.builders import Artifact, Package, SourceInfo
from backend.exceptions import BuildError, InfrastructureError
from backend.results import ResultDir

HELLO = Package(name="hello", epoch=None, version="2.8", release="1", arch="noarch")
SOURCE = Package(name="hello", epoch=3, version="2.8", release="1", arch="src")


@pytest.fixture(autouse=True)
def strict_umask() -> Iterator[None]:
    old = os.umask(0o077)
    yield
    os.umask(old)


def opened(path: Path, attempt: int = 1) -> ResultDir:
    result = ResultDir(path)
    result.open(f"attempt {attempt}")
    return result


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def test_a_whole_build_leaves_the_layout_of_the_protocol(tmp_path: Path) -> None:
    rpm = tmp_path / "strange name"
    rpm.write_bytes(b"rpm")
    path = tmp_path / "jdoe/cap1/fedora-41-x86_64/00000018-hello"
    result = opened(path)
    result.write_info(18, "local")
    result.output(b"+ make\n\xff")
    assert (path / "builder-live.log").read_bytes() == b"+ make\n\xff"
    result.place([Artifact(path=rpm, package=HELLO)])
    result.write_spec("hello.spec", b"Name: hello\n")
    result.write_json({"packages": []})
    result.mark_success()
    result.close()
    result.close()
    assert names(path) == {
        "build-00000018.rsync.log",
        "backend.log.gz", "builder-live.log.gz", "build.info", "hello.spec",
        "hello-2.8-1.noarch.rpm", "results.json", "success",
    }  # fmt: skip
    assert (path / "build.info").read_bytes() == b"build_id=18\nbuilder_ip=local"
    assert (path / "success").read_bytes() == b"done\n"
    assert json.loads((path / "results.json").read_bytes()) == {"packages": []}
    assert gzip.decompress((path / "builder-live.log.gz").read_bytes()) == b"+ make\n\xff"
    assert b"] attempt 1\n" in gzip.decompress((path / "backend.log.gz").read_bytes())
    assert {mode(entry) for entry in path.iterdir()} == {0o644}
    assert {mode(parent) for parent in (path, *list(path.parents)[:3])} == {0o755}
    assert not rpm.exists()


def test_earlier_attempts_keep_their_logs_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "r"
    for attempt in (1, 2, 3):
        result = opened(path, attempt)
        result.write_info(1, f"host{attempt}")
        result.output(b"try %d\n" % attempt)
        (path / "hello-1-1.noarch.rpm").touch()
        (path / "review").mkdir()
        (path / "link").symlink_to(tmp_path)
        result.mark_success()
        result.close(compress=attempt != 2)
    result = opened(path, 4)
    result.close(compress=False)
    assert names(path) == {"builder-live.log", "backend.log", "prev_build_backup"}
    assert (path / "builder-live.log").read_bytes() == b""
    backup = path / "prev_build_backup"
    assert names(backup) == {"1", "2", "3"}
    assert names(backup / "1") == {"builder-live.log.gz", "backend.log.gz", "build.info"}
    assert (backup / "2/builder-live.log").read_bytes() == b"try 2\n"
    assert (backup / "3/build.info").read_text().endswith("host3")
    assert tmp_path.is_dir()


def test_backup_numbers_count_up_past_ten_and_over_gaps(tmp_path: Path) -> None:
    (tmp_path / "r/prev_build_backup/10").mkdir(parents=True)
    (tmp_path / "r/root.log").write_text("mock\n")
    opened(tmp_path / "r").close()
    assert (tmp_path / "r/prev_build_backup/11/root.log").exists()


def test_a_success_goes_first_when_files_are_put_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = opened(tmp_path / "r")
    result.mark_success()
    result.close()

    def broken(_self: Path, _target: Path) -> Path:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(InfrastructureError, match="Input/output error"):
        result.open("attempt 2")
    assert "success" not in names(tmp_path / "r")


def test_a_planted_symlink_is_no_log(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "r").mkdir()
    (tmp_path / "r/builder-live.log").symlink_to(victim)
    result = opened(tmp_path / "r")
    result.output(b"x")
    result.close()
    assert victim.read_text() == "precious"
    (tmp_path / "again").mkdir()
    (tmp_path / "again/backend.log").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        ResultDir(tmp_path / "again")._open_log("backend.log")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_the_farms_fault_and_says_so(tmp_path: Path) -> None:
    result = opened(tmp_path)
    full, log = os.open("/dev/full", os.O_WRONLY), os.dup(result._builder_fd)
    os.dup2(full, result._builder_fd)
    os.close(full)
    with pytest.raises(InfrastructureError, match=r"No space left on device; free space"):
        result.output(b"x")
    os.dup2(log, result._builder_fd)
    os.close(log)
    result.close()


def test_output_survives_short_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = opened(tmp_path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    result.output(b"0123456789")
    assert (tmp_path / "builder-live.log").read_bytes() == b"0123456789"
    monkeypatch.undo()
    result.close()


def test_every_line_of_a_backend_message_carries_the_time(tmp_path: Path) -> None:
    result = opened(tmp_path)
    result.log("one\ntwo \udc80")
    result.close(compress=False)
    lines = (tmp_path / "backend.log").read_text().splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["attempt 1", "one", "two ?"]


def test_a_shared_file_is_copied_not_renamed(tmp_path: Path) -> None:
    rpm = tmp_path / "x.rpm"
    rpm.write_bytes(b"content")
    os.link(rpm, tmp_path / "other name")
    result = opened(tmp_path / "r")
    result.place([Artifact(path=rpm, package=HELLO)])
    result.close()
    with (tmp_path / "other name").open("r+b") as writer:
        writer.write(b"CHANGED")
    assert (tmp_path / "r" / HELLO.filename).read_bytes() == b"content"


def test_a_file_of_another_file_system_is_copied(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    rpm = shm / f"copr-test-{os.getpid()}.rpm"
    rpm.write_bytes(b"content")
    try:
        result = opened(tmp_path / "r")
        result.place([Artifact(path=rpm, package=HELLO)])
        result.close()
    finally:
        rpm.unlink()
    assert (tmp_path / "r" / HELLO.filename).read_bytes() == b"content"
    assert mode(tmp_path / "r" / HELLO.filename) == 0o644
    assert not [name for name in names(tmp_path / "r") if name.startswith(".")]


def test_compressing_never_leaves_a_moment_without_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = opened(tmp_path)
    result.output(b"text")
    seen: list[set[str]] = []
    replace, unlink = os.replace, os.unlink

    def spy_replace(source: str, target: str) -> None:
        seen.append(names(tmp_path))
        replace(source, target)
        seen.append(names(tmp_path))

    def spy_unlink(path: str) -> None:
        unlink(path)
        seen.append(names(tmp_path))

    monkeypatch.setattr(os, "replace", spy_replace)
    monkeypatch.setattr(os, "unlink", spy_unlink)
    result.close()
    assert len(seen) == 6
    for moment in seen:
        assert moment & {"builder-live.log", "builder-live.log.gz"}
        assert moment & {"backend.log", "backend.log.gz"}


@pytest.mark.parametrize("name", ["../x.spec", "/x.spec", ".x.spec", "success", "a/b.spec", "x"])
def test_a_spec_name_must_be_a_plain_one(tmp_path: Path, name: str) -> None:
    result = opened(tmp_path)
    with pytest.raises(BuildError, match="spec file"):
        result.write_spec(name, b"")
    result.close()


def test_results_of_an_rpm_build_have_exactly_the_keys_of_the_protocol() -> None:
    assert resultsjson.of_rpm([HELLO, SOURCE]) == {
        "packages": [
            {"name": "hello", "epoch": None, "version": "2.8", "release": "1", "arch": "noarch"},
            {"name": "hello", "epoch": 3, "version": "2.8", "release": "1", "arch": "src"},
        ]
    }


def test_results_of_a_source_build_cover_every_distribution() -> None:
    plain = SourceInfo(package=SOURCE, spec_name="hello.spec", spec=b"")
    identity = {"name": "hello", "epoch": 3, "version": "2.8", "release": "1"}
    assert resultsjson.of_source(plain, ("debian-12", "fedora-41")) == identity | {
        "architecture_specific_tags": {"debian-12": {}, "fedora-41": {}}
    }
    tagged = SourceInfo(
        package=SOURCE, spec_name="x.spec", spec=b"",
        exclusivearch=("x86_64",), buildarch=("noarch",),
    )  # fmt: skip
    by_distribution = resultsjson.of_source(tagged, ("fedora-41",))["architecture_specific_tags"]
    assert by_distribution == {"fedora-41": {"exclusivearch": ["x86_64"], "buildarch": ["noarch"]}}


def test_two_starts_of_a_build_never_work_in_one_directory(tmp_path: Path) -> None:
    first, second = ResultDir(tmp_path / "r"), ResultDir(tmp_path / "r")
    first.hold()
    with pytest.raises(InfrastructureError, match="still works"):
        second.hold()
    first.close()
    second.hold()
    second.close()


def test_only_a_marked_result_counts_as_finished(tmp_path: Path) -> None:
    result = opened(tmp_path / "r")
    result.write_json({"packages": []})
    assert result.finished() is None
    result.mark_success()
    assert result.finished() == {"packages": []}
    (tmp_path / "r" / "results.json").write_text("{")
    assert result.finished() is None
    result.close()


@pytest.mark.parametrize("size", [0, 100, 256 * 1024, 3 * 1024**2 + 1])
def test_logs_of_any_size_are_compressed_whole(tmp_path: Path, size: int) -> None:
    result = ResultDir(tmp_path / "r")
    result.open("attempt 1")
    text = bytes(number % 251 for number in range(size))
    result.output(text)
    result.close()
    path = tmp_path / "r" / "builder-live.log.gz"
    assert gzip.decompress(path.read_bytes()) == text
    assert path.stat().st_mode & 0o777 == 0o644
    assert not (tmp_path / "r" / "builder-live.log").exists()
    assert [entry.name for entry in path.parent.glob(".*")] == []


@pytest.mark.parametrize("size", [0, 400, 512, 5000])
def test_the_settings_are_a_proper_archive(tmp_path: Path, size: int) -> None:
    result = ResultDir(tmp_path / "r")
    result.open("attempt 1")
    settings = {"chroot": "fedora-41-x86_64", "filler": "x" * size}
    result.write_configs(settings)
    result.close()
    with tarfile.open(tmp_path / "r" / "configs.tar.gz") as archive:
        (entry,) = archive.getmembers()
        assert (entry.name, entry.mode) == ("configs/settings.json", 0o644)
        file = archive.extractfile(entry)
        assert file
        assert json.loads(file.read()) == settings
