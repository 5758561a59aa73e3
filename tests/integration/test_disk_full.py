"""A disk that is really full: a small file system of its own."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.integration.farm import WAIT, make_srpm, running
from tests.unit.test_web_lab import SRPM, Lab, running_lab

MIB = 1024**2


@contextlib.contextmanager
def small_disk(path: Path, mib: int) -> Iterator[None]:
    """Mount one at `path`; skips where that is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={mib}M,mode=755"
    mounted = os.geteuid() == 0 and shutil.which("mount") and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)],
        check=False, capture_output=True,
    ).returncode  # fmt: skip
    if not mounted:
        pytest.skip("this test mounts a file system: it needs root, outside of a container")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def large(mib: int) -> bytes:
    return SRPM + bytes(mib * MIB)


def uploads(lab: Lab) -> list[Path]:
    return list((lab.config.statedir / "uploads").iterdir())


def test_an_upload_that_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "statedir/uploads", 2),
        running_lab(tmp_path, backend__min_free="0") as lab,
    ):
        lab.project()
        reply = lab.upload(large(3))
        assert reply.status_code == 507
        assert reply.json()["error"].startswith("pkgs: hello-2.8-1.src.rpm cannot be stored")
        assert uploads(lab) == []
        assert lab.upload(large(1)).status_code == 200


def test_uploads_leave_as_much_free_as_is_configured(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "statedir/uploads", 4),
        running_lab(tmp_path, backend__min_free="2M") as lab,
    ):
        lab.project()
        assert lab.upload(large(3)).status_code == 507
        assert uploads(lab) == []
        assert lab.upload(large(1)).status_code == 200
        (tmp_path / "statedir/uploads/filler").write_bytes(bytes(MIB))
        refused = lab.upload()
        assert refused.status_code == 507
        assert "nearly full" in refused.json()["error"]


def test_a_database_on_a_full_disk_is_no_bare_error(tmp_path: Path) -> None:
    with small_disk(tmp_path / "statedir", 4), running_lab(tmp_path) as lab:
        lab.project()
        with contextlib.suppress(OSError):
            (tmp_path / "statedir/filler").write_bytes(bytes(4 * MIB))
        words = "x" * 60_000
        replies = [
            lab.api("POST", "/project/add/admin", {"name": f"p{n}", "description": words})
            for n in range(4)
        ]
        assert {reply.status_code for reply in replies} <= {200, 507}
        assert replies[-1].status_code == 507
        assert replies[-1].json()["error"] == "This server's disk is full. Try again later."
        (tmp_path / "statedir/filler").unlink()
        lab.project("again")


@pytest.mark.rpmbuild
@pytest.mark.redis
@pytest.mark.createrepo
def test_running_builds_end_and_new_ones_wait_until_there_is_room(tmp_path: Path) -> None:
    slow = make_srpm(tmp_path / "slow", "slow", WAIT)
    quick = make_srpm(tmp_path / "quick", "quick")
    with running(backend__min_free="16M") as farm, small_disk(farm.top / "results", 64):
        farm.create()
        running_build = farm.submit(slow)
        name = f" {running_build}-{next(iter(farm.api('GET', 'mock-chroots/list')))}"
        wait_until(lambda: farm.titled(name), 60, "the RPM build")
        filler = farm.top / "results/filler"
        filler.write_bytes(bytes(52 * MIB))

        def full() -> bool:
            return bool(json.loads(farm.get(f"{farm.url}/status.json"))["disk_full"])

        wait_until(full, 60, "the disk is seen to be full")
        waiting = farm.submit(quick)
        task = str(waiting)
        wait_until(
            lambda: "nearly full" in farm.api("GET", f"build/{waiting}")["waiting"].get(task, ""),
            60,
            "its reason is told",
        )
        assert farm.http.request("GET", f"{farm.url}/readyz").status == 503
        assert b"copr_disk_full 1" in farm.get(f"{farm.url}/metrics")
        assert b"disk is nearly full" in farm.get(f"{farm.url}/")
        command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), "status"]
        status = subprocess.run(command, check=False, capture_output=True, text=True)
        assert "disk nearly full, nothing new starts" in status.stdout
        assert status.returncode == 1
        farm.let_go()
        assert farm.wait(running_build) == "succeeded", "what runs goes on"
        assert farm.state(waiting) == "pending"
        filler.unlink()
        assert farm.wait(waiting) == "succeeded"
        wait_until(lambda: not full(), 60, "the disk is seen to have room")
        assert (farm.top / "log/backend.log").read_text().count("is started: less than") == 1
