"""What a killed worker had finished is reported as it lies on disk."""

from pathlib import Path
from typing import Any, cast

import pytest

from backend import repository
from backend.config import Config, load
from backend.job import RpmTask, SourceTask
from backend.results import ResultDir
from backend.resume import earlier, resume

COMMON = {"build_id": 7, "project_owner": "jdoe", "project_name": "p", "project_dirname": "p"}


def config(tmp_path: Path) -> Config:
    path = tmp_path / "copr-be.conf"
    results = "results_baseurl=http://x/results"
    path.write_text(f"[backend]\nstatedir={tmp_path}-state\ndestdir={tmp_path}\n{results}\n")
    return load(path)


def finished(path: Path, document: Any) -> ResultDir:
    result = ResultDir(path)
    result.open("attempt 1")
    result.write_json(document)
    result.mark_success()
    result.close()
    return result


def test_a_source_build(tmp_path: Path) -> None:
    task = SourceTask.from_record(COMMON | {"task_id": "7", "source_type": 1, "source_json": "{}"})
    document = {"name": "hello", "epoch": 3, "version": "2.8", "release": "1"}
    result = finished(tmp_path / "r", document)
    assert resume(config(tmp_path), task, result) is None, "its source package is missing"
    (tmp_path / "r" / "hello-2.8-1.src.rpm").write_bytes(b"rpm")
    assert resume(config(tmp_path), task, result) == {
        "pkg_name": "hello",
        "pkg_version": "3:2.8-1",
        "srpm_url": "http://x/results/jdoe/p/srpm-builds/00000007/hello-2.8-1.src.rpm",
        "results": document,
    }


def test_an_rpm_build_is_published_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[Path] = []
    monkeypatch.setattr(repository, "publish", lambda repo, **_: published.append(repo))
    task = RpmTask.from_record(
        COMMON
        | {
            "task_id": "7-fedora-41-x86_64",
            "chroot": "fedora-41-x86_64",
            "package_name": "hello",
            "package_version": "2.8-1",
            "srpm_url": "http://x/s.src.rpm",
        }
    )
    package = {"name": "hello", "epoch": None, "version": "2.8", "release": "1"}
    document = {"packages": [package | {"arch": "noarch"}, package | {"arch": "src"}]}
    result = finished(tmp_path / "r", document)
    assert resume(config(tmp_path), task, result) == {
        "results": document,
        "built_packages": "hello 2.8",
        "pkg_version": "2.8-1",
    }
    assert published == [tmp_path / "jdoe" / "p" / "fedora-41-x86_64"]


def test_what_is_not_marked_is_built_again(tmp_path: Path) -> None:
    result = finished(tmp_path / "r", {"packages": []})
    (tmp_path / "r" / "success").unlink()
    task = cast(RpmTask, None)
    assert resume(config(tmp_path), task, result) is None


RPM = COMMON | {
    "task_id": "7-fedora-41-x86_64", "chroot": "fedora-41-x86_64", "package_name": "hello",
    "package_version": "2.8-1",
}  # fmt: skip
EMBEDDED = RPM | {"srpm_url": "http://x/s.src.rpm", "submitted_on": 1764000000}
REAL = RPM | {"git_repo": "http://x/git/j/p/hello", "git_hash": "a" * 40}


@pytest.mark.parametrize(
    ("record", "other"),
    [
        (EMBEDDED, {"submitted_on": 1764000001}),
        (EMBEDDED, {"srpm_url": "http://x/t.src.rpm"}),
        (REAL, {"git_hash": "b" * 40}),
        (REAL, {"task_id": "8-fedora-41-x86_64", "build_id": 8}),
    ],
)
def test_what_was_built_for_the_task_counts_though_nobody_counts_its_starts(
    tmp_path: Path, record: dict[str, Any], other: dict[str, Any]
) -> None:
    """Redis may be empty, and a restored frontend gives numbers a second time."""
    task, stranger = RpmTask.from_record(record), RpmTask.from_record(record | other)
    result = ResultDir(tmp_path / "r")
    result.open("attempt 1")
    result.write_info(7, "local", task.identity)
    result.close()
    assert [earlier(attempt, task, result) for attempt in (1, 2)] == [True, True]
    assert [earlier(attempt, stranger, result) for attempt in (1, 2)] == [False, False]


def test_where_nobody_knows_the_number_of_the_start_decides(tmp_path: Path) -> None:
    result = ResultDir(tmp_path / "r")
    named, nameless = RpmTask.from_record(EMBEDDED), RpmTask.from_record(RPM)
    source = SourceTask.from_record(
        COMMON | {"task_id": "7", "source_type": 1, "source_json": "{}"}
    )
    for info in (None, "", named.identity):
        if info is not None:
            result.open("attempt 1")
            result.write_info(7, "local", info)
            result.close()
        tasks: list[SourceTask | RpmTask] = [nameless, source, *([] if info else [named])]
        for task in tasks:
            assert [earlier(attempt, task, result) for attempt in (1, 2)] == [False, True]
