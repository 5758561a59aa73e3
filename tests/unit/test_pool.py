"""When something is started again: decided from values."""

import signal

import pytest

from backend import pool
from backend.pool import Backoff, Death

KILLED = Death(age=0.5, code=-signal.SIGKILL, ready=True)
BROKEN = Death(age=0.1, code=1, ready=False, words="no disk")
OLD = Death(age=100.0, code=1, ready=True)


def test_the_first_restart_is_immediate_and_the_next_ones_wait() -> None:
    backoff = Backoff()
    backoff.note([BROKEN], 10.0)
    assert backoff.may_start(10.0)
    pauses = []
    for _ in range(12):
        backoff.note([BROKEN], 10.0)
        pauses.append(backoff.not_before - 10.0)
    assert pauses[:3] == pytest.approx([0.2, 0.4, 0.8])
    assert max(pauses) == pauses[-1] == 10.0
    assert not backoff.may_start(19.9)
    assert backoff.may_start(20.0)


def test_a_good_life_ends_the_pauses() -> None:
    backoff = Backoff()
    backoff.note([BROKEN], 0.0)
    backoff.note([BROKEN], 0.0)
    backoff.note([OLD], 50.0)
    assert backoff.may_start(50.0)


def test_somebody_elses_kill_is_not_the_workers_fault() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.note([KILLED], 5.0)
    assert backoff.may_start(5.0)
    assert not backoff.hopeless


def test_what_was_never_ready_is_given_up_with_its_words() -> None:
    backoff = Backoff()
    for _ in range(pool.HOPELESS - 1):
        backoff.note([BROKEN, BROKEN, BROKEN], 0.0)  # those that end together count as one
        assert not backoff.hopeless
    backoff.note([BROKEN], 0.0)
    assert backoff.hopeless
    assert backoff.words == "no disk"


def test_what_was_ready_once_is_never_given_up() -> None:
    backoff = Backoff()
    backoff.note([KILLED], 0.0)
    for _ in range(20):
        backoff.note([BROKEN], 0.0)
    assert not backoff.hopeless


@pytest.mark.parametrize("code", [0, -signal.SIGUSR2])
def test_a_retired_worker_is_no_death(code: int) -> None:
    death = Death(age=0.01, code=code, ready=False)
    assert death.asked
    assert not death.young
    assert not death.failed_start


def test_numbers() -> None:
    assert pool.missing_slots({0, 2, 7}, 4) == [1, 3]
    assert pool.lowest_free({0, 1, 3}) == 2
    assert pool.lowest_free(set()) == 0
