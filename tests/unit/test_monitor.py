"""What a running build promises the master."""

import os
import time
from typing import Any, cast

import fakeredis
import pytest

from backend.monitor import STEP, BuildMonitor
from backend.queues import Claim, Queues
from backend.results import ResultDir


class FakeResults:
    def output(self, data: bytes) -> None:
        pass


@pytest.fixture
def promises() -> list[float]:
    return []


@pytest.fixture
def monitor(promises: list[float]) -> BuildMonitor:
    client: Any = fakeredis.FakeRedis(decode_responses=True)
    return BuildMonitor(
        Queues(client),
        Claim("0-0-1", 0, "1", 1),
        cast(ResultDir, FakeResults()),
        wakeup_fd=os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC),
        beat=promises.append,
        deadline=time.monotonic() + 5000,
    )


def test_a_build_is_not_waited_for_longer_than_its_own_limit(
    monitor: BuildMonitor, promises: list[float]
) -> None:
    with monitor.limit(time.monotonic() + 100, 60):
        assert promises.pop() == pytest.approx(160, abs=30)
        monitor.check()
        assert promises.pop() == pytest.approx(160, abs=30)
        monitor.output(b"x")
        assert promises.pop() == pytest.approx(160, abs=30)
    assert promises.pop() == pytest.approx(100 + STEP, abs=30)


def test_what_is_past_its_limit_but_speaks_does_not_hang(
    monitor: BuildMonitor, promises: list[float]
) -> None:
    with monitor.limit(time.monotonic() - 1000, 60):
        monitor.check()
        assert promises.pop() == 60
