"""The real daemon against a recorded Copr frontend: actions, kills and the frontend's troubles."""

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.repository import is_published
from tests.conftest import wait_until
from tests.frontend.server import PASSWORD, Fault, RecordedFrontend, hang_up, recorded, status
from tests.integration.farm import Farm

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]

DEBIAN, FEDORA = "debian-12-x86_64", "fedora-41-x86_64"


@contextlib.contextmanager
def serving(**options: str) -> Iterator[tuple[RecordedFrontend, Farm]]:
    """A frontend with no work yet, and a daemon that asks it every second."""
    with tempfile.TemporaryDirectory(prefix="real-", ignore_cleanup_errors=True) as name:
        top = Path(name)
        (top / "files").mkdir()
        with recorded(top / "files") as server:
            farm = Farm(
                top,
                backend__frontend_base_url=server.url,
                backend__frontend_auth=PASSWORD,
                backend__results_baseurl=server.model.results,
                backend__destdir=str(top / "files/results"),
                backend__sleeptime="1",
                builder__chroot=DEBIAN,
                **options,
            )
            try:
                yield server, farm.start()
            finally:
                farm.close()


def results(server: RecordedFrontend) -> list[int]:
    return [record["result"] for record in server.model.actions.values()]


def test_a_new_project_gets_its_repositories() -> None:
    with serving() as (server, farm):
        server.model.create("jdoe", "p", [DEBIAN, FEDORA])
        wait_until(lambda: results(server) == [1, 1], 30, "both actions")
        for chroot in (DEBIAN, FEDORA):
            assert is_published(server.files / "results/jdoe/p" / chroot)
        bad = server.model.act(3, "repository", {"ownername": "../x"})
        unknown = server.model.act(8, "copr", {})
        wait_until(lambda: results(server)[2:] == [2, 2], 30, "two failures")
        assert "ownername" in server.model.actions[bad]["message"]
        assert "knows no such action" in server.model.actions[unknown]["message"]
        assert farm.stop() == 0, farm.stderr


def test_actions_survive_kills_and_a_frontend_in_trouble() -> None:
    with serving(backend__actions_max_workers="2") as (server, farm):
        (dispatcher,) = farm.titled("copr-be: actions")
        server.faults = [
            Fault("/backend/update", status(500), 2),
            Fault("/backend/update", hang_up, 1, after=True),
            Fault("/backend/pending-actions", status(503), 1),
            Fault("/backend/action/3", status(500), 3),
        ]
        for number in range(8):
            server.model.create("jdoe", f"p{number}", [DEBIAN, FEDORA])
        os.kill(dispatcher, signal.SIGKILL)
        wait_until(lambda: results(server) == [1] * 16, 90, "all actions")
        assert farm.titled("copr-be: actions") != [dispatcher]
        for number in range(8):
            assert is_published(server.files / f"results/jdoe/p{number}" / FEDORA)
