"""The judge of `make hostchaos` finds what is wrong, and its killer follows the seed."""

import gzip
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.hostchaos import run as chaos
from tests.hostchaos.killer import Killer
from tests.hostchaos.nethost import NetHost
from tests.integration.farm import Farm

WHOLE = [f"line {number}." for number in range(1, chaos.LINES + 1)]


def log(top: Path, lines: list[str]) -> list[str]:
    """What the judge says of a log."""
    (top / "builder-live.log.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    farm = cast(Farm, SimpleNamespace(top=top))
    made = chaos.Run(farm, [], builds=1, seed=1)
    made._check_log(7, "noisy", top)
    return list(made.bad)


@pytest.mark.parametrize(
    "lines",
    [WHOLE[:-1], [*WHOLE[:9], *WHOLE[8:]], [*WHOLE[5:], *WHOLE[:5]], []],
    ids=["missing", "twice", "disorder", "empty"],
)
def test_a_log_that_was_resumed_wrongly_is_noticed(tmp_path: Path, lines: list[str]) -> None:
    assert log(tmp_path, WHOLE) == []
    assert "build 7" in log(tmp_path, lines)[0]


def test_a_violation_is_told_once() -> None:
    bad = chaos.Violations()
    for _ in range(3):
        bad("host a has 3 leases")
    bad("host b has 3 leases")
    assert len(bad) == 2


class Toy:
    """A host to which nothing happens."""

    def __init__(self, name: str, deeds: list[str]) -> None:
        self.name, self.where, self.deeds = name, name, deeds

    def __getattr__(self, name: str) -> Any:
        def deed(*_: object) -> list[int]:
            self.deeds.append(f"{self.name} {name}")
            return [1]

        return deed


class Strikes(threading.Event):
    """Over after so many looks; a clock that only they move."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left, self.now = number, 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        self.now += timeout or 0.0
        return self.left < 0


class Gentle(Killer):
    """Finds that some task has its last chance on every host, or on none."""

    last_chance = False

    def spared(self, host: NetHost) -> bool:
        return self.last_chance


def struck(seed: int, last_chance: bool = False) -> list[str]:
    deeds: list[str] = []
    hosts = [cast(NetHost, Toy(name, deeds)) for name in "abcd"]
    over = Strikes(200)
    killer = Gentle(cast(Farm, None), hosts, seed, clock=lambda: over.now)
    killer.last_chance = last_chance
    killer.run(over, fury=1.0)
    return deeds


def test_the_killer_follows_its_seed_and_brings_every_host_back() -> None:
    first = struck(7)
    assert first == struck(7) != struck(8)
    for bad, good in (("freeze", "thaw"), ("cut", "mend"), ("power_off", "boot")):
        for name in "abcd":
            assert first.count(f"{name} {bad}") == first.count(f"{name} {good}")


def test_a_host_is_not_lost_for_good_while_it_has_a_tasks_last_chance() -> None:
    assert not any("power_off" in deed for deed in struck(7, last_chance=True))
