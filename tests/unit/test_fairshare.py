"""Decayed use by owner, and durations."""

import json

import pytest

from backend.fairshare import GUESS, History


def test_use_halves_and_fades() -> None:
    history = History(half_life=100.0, start=0.0)
    history.charge("a", 80.0, 0.0)
    assert history.seconds("a", 0.0) == pytest.approx(80.0)
    assert history.seconds("a", 100.0) == pytest.approx(40.0)
    assert history.seconds("a", 200.0) == pytest.approx(20.0)
    history.charge("a", -1000.0, 200.0)
    assert history.seconds("a", 200.0) == 0.0


def test_rescaling_changes_nothing_but_the_numbers() -> None:
    history = History(half_life=1.0, start=0.0)
    for second in range(200):
        history.charge("a", 10.0, float(second))
        history.charge("b", 5.0, float(second))
    assert history.seconds("a", 199.0) == pytest.approx(20.0, rel=0.01)
    assert history.seconds("b", 199.0) == pytest.approx(10.0, rel=0.01)
    assert max(history.used.values()) < 1e15


def test_it_fades_also_when_the_clock_was_wrong_for_a_moment() -> None:
    history = History(half_life=100.0, start=0.0)
    history.charge("a", 80.0, 0.0)
    history.charge("b", 80.0, 1e9)  # years ahead, and back again
    history.charge("a", 80.0, 10.0)
    before = history.seconds("a", 10.0)
    assert before >= 80.0
    assert history.seconds("a", 110.0) == pytest.approx(before / 2)


def test_owners_without_recent_use_are_forgotten() -> None:
    history = History(half_life=10.0, start=0.0)
    for number in range(1000):
        history.charge(f"o{number}", 100.0, 0.0)
    history.charge("new", 100.0, 200.0)
    history.to_json(200.0)
    assert set(history.used) == {"new"}


def test_no_half_life_means_no_history() -> None:
    history = History(half_life=0.0, start=0.0)
    history.charge("a", 80.0, 0.0)
    assert history.used == {}
    assert history.seconds("a", 5.0) == 0.0


def test_stored_and_read_back_it_is_as_old_as_it_is() -> None:
    history = History(half_life=100.0, start=0.0)
    history.charge("a", 80.0, 50.0)
    history.observe("x86_64", 10.0)
    raw = json.loads(json.dumps(history.to_json(150.0)))
    again = History.from_json(raw, 100.0, 250.0)
    assert again.seconds("a", 250.0) == pytest.approx(20.0)
    assert again.expected("x86_64") == 10.0
    assert again.expected("s390x") == GUESS


@pytest.mark.parametrize(
    "raw", [None, [], {}, {"when": 1, "used": {"a": "x"}, "durations": {}}, {"when": "never"}, 5]
)
def test_garbage_is_an_empty_history(raw: object) -> None:
    history = History.from_json(raw, 100.0, 7.0)
    assert (history.used, history.durations, history.start) == ({}, {}, 7.0)


def test_the_mean_follows_but_not_at_once() -> None:
    history = History(half_life=100.0, start=0.0)
    for seconds in (10.0, 20.0):
        history.observe("source", seconds)
    assert 10.0 < history.expected("source") < 15.0


def test_a_clock_that_goes_back_breaks_nothing() -> None:
    history = History(half_life=1.0, start=1e6)
    history.charge("a", 10.0, 0.0)
    assert history.seconds("a", 0.0) == pytest.approx(10.0)
