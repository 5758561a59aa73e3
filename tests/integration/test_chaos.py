"""The chaos test, in short; `make chaos` is the long one (docs/chaos.md)."""

import pytest

from tests.chaos.run import run

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]


def test_nothing_is_lost_or_doubled_or_left_under_the_killer() -> None:
    outcome = run(builds=12, seed=8, mode="external", seconds=10, brief=True)
    assert outcome.violations == [], outcome.text
    assert sum(outcome.kills.values()) >= 3, outcome.text  # as many as it takes, see Killer
    assert sum(outcome.states.values()) >= 12, outcome.text
