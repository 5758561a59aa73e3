"""The master when Redis comes back, and goes again at once."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis

from backend.daemons.backend import CoprBackend


def test_a_redis_that_goes_again_at_once_does_not_end_the_master(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master = cast(Any, CoprBackend.__new__(CoprBackend))
    master.crew = SimpleNamespace(everyone=list)
    master._returned = True
    monkeypatch.setattr(CoprBackend, "_publish_drain", lambda _self: None)

    def gone(_self: CoprBackend) -> None:
        raise redis.ConnectionError("reset by peer")

    monkeypatch.setattr(CoprBackend, "clean_task_queues", gone)
    master._redis_is_back()
    assert master._returned, "nothing may start before the queues are clean"
    monkeypatch.setattr(CoprBackend, "clean_task_queues", lambda _self: None)
    master._redis_is_back()
    assert not master._returned
