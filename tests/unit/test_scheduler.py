"""What runs next: order, fairness, limits, and the reasons of what waits."""

import pytest

from backend.fairshare import History
from backend.limits import Counts, Limits
from backend.scheduler import Slots, Use, plan
from tests.unit.plans import names, one_group, rpm
from tests.unit.test_core_values import pending

# --- order and fairness -----------------------------------------------------------------------


def test_who_used_less_goes_first_then_the_older() -> None:
    """One user's 3,000 builds make everybody wait."""
    crowd = [rpm(number, "crowd") for number in range(1, 3001)]
    made = plan([*crowd, rpm(9001, "single"), rpm(9002, "single")], one_group(4))
    assert names(made) == [
        *("1-fedora-41-x86_64", "9001-fedora-41-x86_64"),
        *("2-fedora-41-x86_64", "9002-fedora-41-x86_64"),
    ]


def test_history_outweighs_age_and_fades() -> None:
    history = History(half_life=100.0, start=0.0)
    history.charge("busy", 1000.0, 0.0)
    history.charge("calm", 10.0, 0.0)
    tasks = [rpm(1, "busy"), rpm(2, "calm")]
    use = Use(used=history.used, cost=lambda _: 60.0)
    assert names(plan(tasks, one_group(1), use=use)) == ["2-fedora-41-x86_64"]
    history.charge("calm", 50.0, 1000.0)  # busy's thousand are worth one second by now
    use = Use(used=history.used, cost=lambda _: 60.0)
    assert names(plan(tasks, one_group(1), use=use)) == ["1-fedora-41-x86_64"]


def test_without_fairness_only_age_counts() -> None:
    tasks = [rpm(3, "a"), rpm(1, "b"), rpm(4, "a"), rpm(2, "b")]
    made = plan(tasks, one_group(3), use=Use(used={}, cost=lambda _: 0.0))
    assert [name.partition("-")[0] for name in names(made)] == ["1", "2", "3"]


def test_a_blocked_older_task_does_not_lend_its_age() -> None:
    """The s390x task cannot start; what is behind it is younger than the other owner's."""
    tasks = [rpm(1, "a", "s390x"), rpm(9, "a"), rpm(5, "b")]
    made = plan(tasks, one_group(1), use=Use(used={}, cost=lambda _: 0.0))
    assert names(made) == ["5-fedora-41-x86_64"]


# --- limits and reasons -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(total=1), "the farm already runs 1 of 1 (builds_max_workers)"),
        (Limits(owner=1), "owner jdoe already runs 1 of 1 (builds_max_workers_owner)"),
        (Limits(sandbox=1), "sandbox s already runs 1 of 1 (builds_max_workers_sandbox)"),
        (
            Limits(arch={"x86_64": 1}),
            "architecture x86_64 already runs 1 of 1 (builds_max_workers_arch)",
        ),
        (
            Limits(arch_per_owner={"x86_64": 1}),
            "owner jdoe on x86_64 already runs 1 of 1 (builds_max_workers_arch_per_owner)",
        ),
        (Limits(tag={"big": 1}), "tag big already runs 1 of 1 (builds_max_workers_tag)"),
    ],
)
def test_every_limit_holds_and_says_so(limits: Limits, reason: str) -> None:
    tasks = [rpm(n, sandbox="s", tags=["small", "big"]) for n in (1, 2)]
    made = plan(tasks, one_group(4), limits=limits)
    assert names(made) == ["1-fedora-41-x86_64"]
    assert made.waiting == {"2-fedora-41-x86_64": reason}
    again = plan(tasks[1:], one_group(3), limits=limits, running=Counts(tasks[:1]))
    assert again.waiting == {"2-fedora-41-x86_64": reason}


def test_i686_counts_as_x86_64_and_source_builds_as_no_architecture() -> None:
    groups = {0: Slots(archs=("x86_64", "i686"), free=9, size=9)}
    limits = Limits(arch={"x86_64": 1})
    made = plan([pending("1"), pending("2"), rpm(3), rpm(4, arch="i686")], groups, limits=limits)
    assert names(made) == ["1", "2", "3-fedora-41-x86_64"]


def test_a_limit_of_0_for_one_architecture_stops_it() -> None:
    made = plan([rpm(1)], one_group(4), limits=Limits(arch={"x86_64": 0}))
    assert names(made) == []
    assert "0 of 0" in made.waiting["1-fedora-41-x86_64"]


def test_reasons_without_limits() -> None:
    groups = {
        0: Slots(archs=("x86_64",), free=0, size=4, name="PC"),
        1: Slots(archs=("x86_64", "aarch64"), free=0, size=1, name="ARM"),
        2: Slots(archs=("ppc64le",), free=0, size=0, name="OFF"),
    }
    tasks = [rpm(1), rpm(2, arch="aarch64"), rpm(3, arch="s390x"), rpm(4, "bad"), pending("5")]
    tasks += [rpm(6, blocked_by="batch 7 is not finished"), rpm(7, arch="ppc64le")]
    made = plan(tasks, groups, limits=Limits(blocked_owners=frozenset({"bad"})))
    assert {name.partition("-")[0]: text for name, text in made.waiting.items()} == {
        "1": "all 5 workers of groups PC, ARM are busy",
        "2": "the only worker of group ARM is busy",
        "3": "no builder group builds s390x: add it to a group's archs",
        "4": "owner bad is blocked (blocked_owners)",
        "5": "all 5 workers of groups PC, ARM, OFF are busy",
        "6": "batch 7 is not finished",
        "7": "group OFF has no workers: raise its max_workers",
    }


def test_a_drained_farm_starts_nothing_and_says_why() -> None:
    made = plan([rpm(1)], one_group(4), drained="since 12:00: new disk")
    assert names(made) == []
    assert made.waiting["1-fedora-41-x86_64"] == "the farm is drained: since 12:00: new disk"


def test_a_task_that_is_listed_twice_starts_once() -> None:
    assert names(plan([rpm(1), rpm(1)], one_group(4))) == ["1-fedora-41-x86_64"]
