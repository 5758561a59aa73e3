"""Uploads of packages: kept, served, removed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.web.setup import first_start
from tests.unit.test_web_lab import SRPM, Lab, refused, running_lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path, web__max_upload="4096") as lab:
        yield lab


def test_upload_is_stored_and_served(lab: Lab) -> None:
    lab.project()
    build = lab.upload().json()
    url = build["source_package"]["url"]
    assert url.startswith("http://127.0.0.1:5000/tmp/")
    assert lab.client.get(url.removeprefix("http://127.0.0.1:5000")).content == SRPM
    task = lab.back("get-srpm-build-task/1")
    assert task["source_type"] == 2
    assert url in task["source_json"]
    lab.source_done(1, srpm_url=url)
    path = url.removeprefix("http://127.0.0.1:5000")
    assert lab.client.get(path).status_code == 200


def test_upload_of_a_canceled_build_is_removed_when_the_backend_has_stopped(lab: Lab) -> None:
    lab.project()
    build = lab.upload().json()["id"]
    lab.api("PUT", f"/build/cancel/{build}")
    lab.back(f"build-tasks/canceled/{build}", False)
    assert not list((lab.config.statedir / "uploads").iterdir())


def test_uploads_of_a_killed_process_are_removed_at_the_next_start(lab: Lab) -> None:
    lab.project()
    lab.upload()
    uploads = lab.config.statedir / "uploads"
    (wanted,) = uploads.iterdir()
    (uploads / "torn").mkdir()
    (uploads / "torn" / "half.src.rpm").write_bytes(b"half")
    first_start(lab.config)
    assert list(uploads.iterdir()) == [wanted]


def test_upload_that_nobody_needs_is_removed(lab: Lab) -> None:
    lab.project()
    lab.source_done(lab.upload().json()["id"])
    assert not list((lab.config.statedir / "uploads").iterdir())


@pytest.mark.parametrize(
    ("data", "name", "status", "text"),
    [
        (b"#!/bin/sh\n" * 9, "a-1.src.rpm", 400, "a-1.src.rpm is no RPM"),
        (SRPM[:7] + b"\0" + SRPM[8:], "a-1.src.rpm", 400, "binary RPM"),
        (SRPM, "a-1.x86_64.rpm", 400, "is no source package"),
        (SRPM, "../a-1.src.rpm", 400, "is no source package"),
        (b"", "a-1.src.rpm", 400, "empty or cut off"),
        (SRPM + bytes(4096), "a-1.src.rpm", 413, "limit of 4096 bytes"),
    ],
)
def test_refused_upload_leaves_nothing(
    lab: Lab, data: bytes, name: str, status: int, text: str
) -> None:
    lab.project()
    refused(lab.upload(data, name), status, text)
    uploads = lab.config.statedir / "uploads"
    assert not uploads.exists() or not list(uploads.iterdir())
    assert lab.tasks() == []


def test_upload_to_a_missing_project_leaves_nothing(lab: Lab) -> None:
    refused(lab.upload(), 404, "Project admin/hello does not exist.")
    assert not list((lab.config.statedir / "uploads").iterdir())


def test_an_upload_with_an_odd_name_is_kept_under_a_harmless_one(lab: Lab) -> None:
    lab.project()
    url = lab.upload(SRPM, "my päckage-%{ver}-1.src.rpm").json()["source_package"]["url"]
    assert url.rsplit("/", 1)[-1] == "my_p_ckage-__ver_-1.src.rpm"
    assert lab.client.get(url.removeprefix("http://127.0.0.1:5000")).content == SRPM
