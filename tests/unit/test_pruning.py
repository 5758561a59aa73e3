"""What may go of the results: the decision, on values alone."""

from collections import Counter
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.pruning import ALL, LOGS, PACKAGES, Found, Known, Rules, Step, plan

DAY = 86400.0
NOW = 20_000 * DAY
F41, F42, SRPM = "fedora-41-x86_64", "fedora-42-x86_64", "srpm-builds"
RULES = Rules(keep=2, days=14)


def result(build: int, package: str = "hello", **more: object) -> Found:
    base = Found(owner="jdoe", dirname="p", chroot=F41, name="", good=True, since=NOW,
                 packages=1000, logs=100)  # fmt: skip
    one = replace(base, **more)  # type: ignore[arg-type]
    name = f"{build:08d}" if one.chroot == SRPM else f"{build:08d}-{package}"
    return replace(one, name=name)


PLAIN = Known()


def decide(
    found: list[Found], known: Known = PLAIN, rules: Rules = RULES, **more: frozenset[str]
) -> list[Step]:
    return plan(found, known, rules, now=NOW, **more)


def builds(steps: list[Step]) -> list[int | None]:
    return sorted(step.found.build or 0 for step in steps)  # type: ignore[return-value]


def test_the_newest_of_each_package_and_chroot_stay() -> None:
    found = [result(n) for n in range(1, 6)]
    found += [result(n, chroot=F42) for n in (1, 2)]
    found += [result(6, "world")]
    steps = decide(found)
    assert builds(steps) == [1, 2, 3]
    assert {step.what for step in steps} == {ALL}
    assert "2 newer builds of hello succeeded in fedora-41-x86_64 (keep = 2)" in steps[0].reason
    assert sum(step.bytes for step in steps) == 3 * 1100


def test_a_failed_build_between_is_no_success_and_stays_for_its_days() -> None:
    found = [result(1), result(2), result(3, good=False), result(4, good=False, since=NOW - 15 * DAY)]  # fmt: skip  # noqa: E501
    steps = decide(found)
    assert builds(steps) == [4]
    assert steps[0].reason == "no success, 15 days old (prune_days = 14)"


@pytest.mark.parametrize(("own", "gone"), [(0, []), (1, [1, 2]), (None, [1])])
def test_a_project_has_its_own_number(own: int | None, gone: list[int]) -> None:
    assert builds(decide([result(n) for n in (1, 2, 3)], Known(keep=own))) == gone


def test_builds_that_wait_for_their_release_do_not_push_out_what_readers_have() -> None:
    found = [result(n, released=n < 4) for n in range(1, 7)]
    assert builds(decide(found)) == [1, 4]
    assert builds(decide(found, Known(keep=1))) == [1, 2, 4, 5]


def test_zero_keeps_everything() -> None:
    found = [result(n, good=n > 5, since=0.0) for n in range(1, 9)]
    assert decide(found, rules=Rules(keep=0, days=0)) == []


def test_a_project_that_is_not_pruned_is_left_alone_but_for_what_was_begun() -> None:
    found = [result(n, since=0.0) for n in range(1, 9)]
    assert decide(found, Known(auto=False)) == []
    found[0] = replace(found[0], begun=ALL)
    assert builds(decide(found, Known(auto=False))) == [1]


def test_source_builds_go_by_age_and_not_before_their_build_has_ended() -> None:
    old = NOW - 20 * DAY
    found = [result(n, chroot=SRPM, since=old) for n in (1, 2)] + [result(3, chroot=SRPM)]
    steps = decide(found, unfinished=frozenset({"2-fedora-41-x86_64"}))
    assert builds(steps) == [1]


def test_logs_have_a_term_of_their_own() -> None:
    rules = Rules(keep=1, days=14, log_days=90)
    found = [
        result(1, since=NOW - 100 * DAY),
        result(2, since=NOW - 20 * DAY),
        result(3, since=NOW - 95 * DAY, good=False, packages=0),
        result(4, since=NOW - 20 * DAY, good=False, packages=0),
        result(5, since=NOW - 99 * DAY, package="alone"),
        result(6),
    ]
    steps = {step.found.build: step for step in decide(found, rules=rules)}
    assert {number: step.what for number, step in steps.items()} == {
        1: ALL, 2: PACKAGES, 3: ALL, 5: LOGS
    }  # fmt: skip
    assert steps[2].reason.endswith("; its logs stay")
    assert (steps[2].bytes, steps[5].bytes) == (1000, 100)


def test_a_chroot_goes_when_its_end_and_the_days_after_are_over() -> None:
    end = date(1970, 1, 1).fromordinal(date(1970, 1, 1).toordinal() + 19_990)
    found = [result(1), result(2, chroot=F42), result(3, chroot=SRPM)]
    rules = Rules(keep=2, days=14, eol={"fedora-41": end}, eol_days=11)
    assert decide(found, rules=rules) == []
    steps = decide(found, rules=replace(rules, eol_days=10))
    assert builds(steps) == [1]
    assert steps[0].reason == f"{F41} reached its end of life on {end} and 10 days more are over"


def test_a_chroot_after_its_last_pruning_is_not_touched() -> None:
    found = [result(n) for n in (1, 2, 3)]
    assert decide(found, Known(still={F41: "done"})) == []


def test_what_is_not_named_like_a_result_is_nobodys() -> None:
    found = replace(result(1, good=False, since=0.0), name="my-own-files")
    assert decide([found]) == []


def test_what_an_earlier_prune_began_is_finished_whatever_the_rules_say_now() -> None:
    found = [result(1, begun=ALL), result(2, begun=PACKAGES), result(3)]
    steps = decide(found, rules=Rules(keep=0, days=0, log_days=10))
    assert [(step.found.build, step.what) for step in steps] == [(1, ALL), (2, PACKAGES)]


def test_what_the_frontend_has_given_up_goes_too_and_is_no_success_any_more() -> None:
    found = [result(n) for n in (1, 2, 3)]
    claimed = frozenset({found[2].place})
    assert builds(decide(found, Known(claimed=claimed))) == [3]


results = st.builds(
    result,
    st.integers(1, 60),
    package=st.sampled_from(["a", "b"]),
    chroot=st.sampled_from([F41, F42, SRPM]),
    good=st.booleans(),
    busy=st.booleans(),
    begun=st.sampled_from(["", "", "", ALL, PACKAGES]),
    since=st.floats(0, NOW),
    packages=st.integers(0, 9),
    logs=st.integers(0, 9),
)
rules = st.builds(
    Rules,
    keep=st.integers(0, 4),
    days=st.integers(0, 30),
    log_days=st.integers(0, 60),
)


@given(
    st.lists(results, max_size=40, unique_by=lambda one: one.place),
    rules,
    st.sets(st.integers(1, 60)),
    st.booleans(),
)
def test_nothing_wanted_ever_goes(
    found: list[Found], law: Rules, running: set[int], auto: bool
) -> None:
    unfinished = frozenset(f"{number}-{F42}" for number in running)
    steps = decide(found, Known(auto=auto), law, unfinished=unfinished)
    gone = {step.found.place for step in steps if step.what != LOGS}
    assert len({step.found.place for step in steps}) == len(steps)
    for step in steps:
        assert not step.found.busy
        assert step.found.build not in running
        assert step.reason
        assert auto or step.found.begun
    good = Counter((one.chroot, one.package) for one in found
                   if one.good and not one.begun and one.chroot != SRPM)  # fmt: skip
    stay = Counter((one.chroot, one.package) for one in found
                   if one.good and not one.begun and one.place not in gone)  # fmt: skip
    for key, number in good.items():
        assert stay[key] >= (min(number, law.keep) if law.keep else number)
    for one in found:
        if one.place in gone and not one.good and not one.begun:
            assert law.days
            assert NOW - one.since >= law.days * DAY


@given(st.lists(results, max_size=30, unique_by=lambda one: one.place), rules)
def test_pruning_twice_finds_nothing_more(found: list[Found], law: Rules) -> None:
    done = {step.found.place: step.what for step in decide(found, rules=law)}
    after = []
    for one in found:
        what = done.get(one.place)
        if what == PACKAGES:
            after.append(replace(one, packages=0, good=False, begun=""))
        elif what == LOGS:
            after.append(replace(one, logs=0))
        elif what != ALL:
            after.append(one)
    assert decide(after, rules=law) == []
