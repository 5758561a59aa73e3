"""Redis or the frontend has forgotten what was built: nothing is published twice, or wrongly."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backend.outbox import Outbox
from tests.conftest import wait_until
from tests.integration.farm import WAIT, Farm, make_srpm, running

pytestmark = [pytest.mark.rpmbuild, pytest.mark.redis, pytest.mark.createrepo]


def _copy(farm: Farm) -> Path:
    """A backup of the frontend's database, as of now."""
    target = farm.top / "backup.sqlite"
    with (
        closing(sqlite3.connect(farm.top / "state/frontend.sqlite", timeout=60)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
    return target


def _restore(farm: Farm, backup: Path) -> None:
    # Else the report would be sent again, and nothing would be left to do.
    with farm.redis as client:
        wait_until(lambda: not Outbox(client).read(0), what="the report is known to be delivered")
    farm.stop()
    for path in (farm.top / "state").glob("frontend.sqlite*"):
        path.unlink()
    backup.rename(farm.top / "state/frontend.sqlite")
    farm.start()


def _rpm(farm: Farm, build: int) -> os.stat_result:
    (rpm,) = farm.top.glob(f"results/admin/p/*/{build:08d}-*/*.noarch.rpm")
    return rpm.stat()


def test_a_build_that_a_restored_database_wants_again_is_not_published_again(
    tmp_path: Path,
) -> None:
    with running() as farm:
        farm.create()
        build = farm.submit(make_srpm(tmp_path, "slow", WAIT))
        name = f" {build}-{next(iter(farm.api('GET', 'mock-chroots/list')))}"
        wait_until(lambda: farm.titled(name), 60, "the RPM build")
        backup = _copy(farm)

        def ended() -> bool:
            farm.let_go()  # again: its worker names a task before that has begun to wait
            return farm.state(build) == "succeeded"

        wait_until(ended, 60, "the build")
        before = _rpm(farm, build)
        _restore(farm, backup)
        assert farm.wait(build) == "succeeded"
        after = _rpm(farm, build)
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        log = farm.top / "log/backend.log"
        wait_until(lambda: "was ready already" in log.read_text(), 60, "the event in the log")


def test_another_build_under_the_same_number_is_built(tmp_path: Path) -> None:
    with running() as farm:
        farm.create()
        backup = _copy(farm)
        srpm = make_srpm(tmp_path, "hello")
        build = farm.submit(srpm)
        assert farm.wait(build) == "succeeded"
        before = _rpm(farm, build)
        _restore(farm, backup)
        assert farm.submit(srpm) == build, "the number is given again"
        assert farm.wait(build) == "succeeded"
        after = _rpm(farm, build)  # a new file may get the number of one that was removed
        assert (after.st_ino, after.st_mtime_ns) != (before.st_ino, before.st_mtime_ns)
