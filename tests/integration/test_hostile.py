"""Must-hold of the sandbox: hostile packages change nothing outside and end within limits.

`make hostile` plays the whole set, as root and as an ordinary user.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.builders import stream
from tests.hostile.arena import Arena, at_rest, judge
from tests.hostile.attack import Attack, python
from tests.hostile.attacks import ATTACKS
from tests.hostile.more import DIGEST

pytestmark = pytest.mark.rpmbuild


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="hostile-") as top:
        yield Arena(Path(top))


@pytest.mark.parametrize(
    "attack", [one for one in ATTACKS if one.quick], ids=lambda attack: str(attack.name)
)
def test_an_attack_ends_as_it_must(
    arena: Arena, attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHECK_EVERY", 0.1)
    before = at_rest()
    end, log, _ = arena.build(attack)
    assert judge(attack, end, log, grouped=arena.grouped) == []
    assert at_rest() == before
    assert not list(Path(arena.top).glob("*/area"))


def test_the_next_build_is_green_and_sees_the_same_etc(arena: Arena) -> None:
    views = set()
    for _ in range(3):
        end, log, _ = arena.build(Attack("next", python(DIGEST)))
        assert not end
        views |= {line for line in log.splitlines() if line.startswith("ETC ")}
    assert len(views) == 1
    assert "Limits: memory 256 MB, 150 processes" in log
