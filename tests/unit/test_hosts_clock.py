"""The clock of the hosts helper."""

import time

import pytest

from backend.daemons.hosts import Steady


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_the_machines_clock_may_be_put_right(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    began = time.time()
    clock = Steady()
    assert abs(clock() - began) < 3600
    monkeypatch.setattr(time, "time", lambda: began + jump)
    assert abs(clock() - began) < 3600
    assert clock() <= clock()
