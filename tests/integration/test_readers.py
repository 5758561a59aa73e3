"""Readers beside publishers who are killed, in short; `make readers` is the long one."""

import shutil
from pathlib import Path

import pytest

from tests.readers.run import run

pytestmark = [pytest.mark.createrepo]


def test_readers_see_whole_states_while_publishers_are_killed(tmp_path: Path) -> None:
    outcome = run(tmp_path, publishes=24, packages=10, seed=5)
    assert outcome.violations == []
    assert outcome.deeds["add"] > 0
    assert outcome.deeds["killed"] > 0
    assert outcome.deeds["read"] >= 2


@pytest.mark.dnf
def test_dnf_makes_its_cache_meanwhile(tmp_path: Path) -> None:
    outcome = run(tmp_path, publishes=12, packages=10, seed=6, dnf=shutil.which("dnf"))
    assert outcome.violations == []
    assert outcome.deeds["dnf"] >= 1
