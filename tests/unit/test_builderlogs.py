"""A builder's own logs beside those of the build."""

import gzip
from pathlib import Path

from backend import builderlogs


def test_they_are_compressed_into_the_result_directory(tmp_path: Path) -> None:
    logs, results = tmp_path / "logs", tmp_path / "results"
    logs.mkdir()
    results.mkdir()
    (logs / "root.log").write_text("dnf said\n")
    (logs / "backend.log").write_text("not this one\n")
    (logs / "notes.txt").write_text("nor this one\n")
    (logs / "link.log").symlink_to("/etc/passwd")
    builderlogs.keep(tmp_path, results)
    assert [path.name for path in results.iterdir()] == ["root.log.gz"]
    packed = results / "root.log.gz"
    assert gzip.decompress(packed.read_bytes()) == b"dnf said\n"
    assert packed.stat().st_mode & 0o777 == 0o644


def test_a_builder_without_logs_is_fine(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    builderlogs.keep(tmp_path, results)
    assert not list(results.iterdir())
