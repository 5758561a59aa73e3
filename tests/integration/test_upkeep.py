"""Upkeep under load and kills, in short; `make upkeep` is the long one (docs/pruning.md)."""

import pytest

from tests.upkeep.run import run

pytestmark = [pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo]


@pytest.mark.timeout(600)
def test_nothing_wanted_is_lost_and_nothing_unwanted_stays() -> None:
    outcome = run(builds=6, seed=3)
    assert outcome.violations == [], outcome
    assert outcome.deeds["submit"] >= 6
