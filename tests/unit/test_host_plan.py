"""Decisions about hosts: who gets which, which are made, checked and ended, why a build waits."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backend.config import Group
from backend.hosts import plan, pool
from backend.hosts.pool import Kind, Lease, Machine, Outcome, Request, Rules, Scene, State, Trouble

RULES = Rules(quarantine_after=3, check_interval=60, spawn_timeout=100)
STATIC = Group(id=0, name="PC", archs=("x86_64",), max_workers=9, hosts=("ssh://u@a", "ssh://u@b"))
CLOUD = replace(STATIC, hosts=(), spawn_command="s", terminate_command="t", max_hosts=4)
TICKETS = replace(STATIC, hosts=(), resalloc_connection="http://r", max_hosts=4)


def host(name: str, **more: Any) -> Machine:
    values: dict[str, Any] = {
        "kind": Kind.STATIC,
        "state": State.READY,
        "born": 0.0,
        "proven": True,
    }
    return Machine(name=name, group=0, **(values | more))


def cloud(name: str, sandbox: str = "", **more: Any) -> Machine:
    return host(name, sandbox=sandbox, **({"kind": Kind.SPAWNED, "affine": True} | more))


def ask(worker: str, sandbox: str = "o/p--u", since: float = 1.0, **more: Any) -> Request:
    fixed: dict[str, Any] = {"number": "1", "group": 0, "task": f"t{worker}", "pid": 1, "start": 1}
    return Request(worker=worker, sandbox=sandbox, since=since, **(fixed | more))


def held(worker: str, name: str, sandbox: str = "o/p--u") -> Lease:
    return Lease(worker=worker, host=name, task="t", sandbox=sandbox, pid=1, start=1, since=0.0)


def scene(
    machines: list[Machine],
    waiting: list[Request] | None = None,
    leases: list[Lease] | None = None,
    group: Group = STATIC,
    **more: Any,
) -> Scene:
    return Scene(
        machines={machine.name: machine for machine in machines},
        leases={lease.worker: lease for lease in leases or []},
        waiting=tuple(waiting or ()),
        groups={0: group},
        rules=RULES,
        **({"now": 1000.0} | more),
    )


def given_to(found: Scene) -> dict[str, str]:
    return {request.worker: machine.name for request, machine in plan.assign(found)}


# --- who gets which host ---------------------------------------------------------------------


def test_who_waits_longest_comes_first_and_builds_are_spread() -> None:
    two = [host("a", slots=2), host("b", slots=2)]
    found = given_to(scene(two, [ask("w1", since=3), ask("w2", since=1)], [held("w0", "a")]))
    assert found == {"w2": "b", "w1": "a"}


def test_a_full_or_unfit_host_gets_nothing() -> None:
    machines = [
        host("full"),
        host("ill", state=State.QUARANTINED),
        host("unsure", state=State.CHECKING),
        host("drained", drained="by hand"),
    ]
    assert given_to(scene(machines, [ask("w")], [held("x", "full")])) == {}


def test_a_used_machine_serves_only_its_own() -> None:
    machines = [cloud("old", "other"), cloud("own", "o/p--u"), cloud("new")]
    assert given_to(scene(machines, [ask("w")], group=CLOUD)) == {"w": "own"}
    assert given_to(scene(machines[:1], [ask("w")], group=CLOUD)) == {}


def test_one_turn_does_not_bind_a_machine_twice() -> None:
    machines = [cloud("new", slots=2)]
    found = plan.assign(scene(machines, [ask("w1", "s1"), ask("w2", "s2", 2.0)], group=CLOUD))
    assert [(r.worker, m.sandbox) for r, m in found] == [("w1", "s1")]


def test_a_host_where_the_task_failed_is_taken_only_if_there_is_no_other() -> None:
    request = ask("w", tried=("a",))
    both = [host("a"), host("b")]
    assert given_to(scene(both, [request])) == {"w": "b"}
    assert given_to(scene(both, [request], [held("x", "b")])) == {}  # it waits for b
    ill = [host("a"), host("b", state=State.QUARANTINED)]
    assert given_to(scene(ill, [request])) == {"w": "a"}


NAMES = st.sampled_from(["s1", "s2", "s3"])


@given(
    st.lists(st.tuples(st.sampled_from(list(State)), st.sampled_from(["", "s1", "s2"]),
                       st.integers(1, 3), st.booleans()), max_size=6),
    st.lists(NAMES, max_size=8),
    st.lists(st.tuples(st.integers(0, 5), NAMES), max_size=6),
)  # fmt: skip
def test_never_two_sandboxes_on_a_machine_nor_more_than_its_slots(
    made: list[tuple[State, str, int, bool]], wanted: list[str], held_: list[tuple[int, str]]
) -> None:
    machines = [
        cloud(f"m{i}", sandbox, state=state, slots=slots, drained="d" if drained else "")
        for i, (state, sandbox, slots, drained) in enumerate(made)
    ]
    leases = [
        held(f"l{i}", f"m{at}", machines[at].sandbox)
        for i, (at, _) in enumerate(held_)
        if at < len(machines) and machines[at].sandbox
    ]
    now = scene(machines, [ask(f"w{i}", s) for i, s in enumerate(wanted)], leases, CLOUD)
    on: dict[str, set[str]] = {m.name: {m.sandbox} - {""} for m in machines}
    used = {m.name: now.used(m.name) for m in machines}
    for request, machine in plan.assign(now):
        on[machine.name].add(request.sandbox)
        used[machine.name] += 1
        assert used[machine.name] <= machine.slots
        assert now.machines[machine.name].usable
    assert all(len(sandboxes) <= 1 for sandboxes in on.values())
    ended = plan.ends(now)
    assert not any(now.used(name) for name in ended)
    assert len(machines) + len(plan.starts(now, 0)) <= max(CLOUD.max_hosts, len(machines))


# --- machines on demand ----------------------------------------------------------------------


def test_a_machine_is_started_for_who_waits_and_for_the_reserve() -> None:
    group = replace(CLOUD, preallocate=1)
    assert plan.starts(scene([], group=group), 0) == [""]
    assert plan.starts(scene([], [ask("w")], group=group), 0) == ["", ""]
    assert plan.starts(scene([cloud("spare")], group=group), 0) == []
    assert plan.starts(scene([cloud("a", state=State.STARTING)], [ask("w")], group=group), 0) == [
        ""
    ]


def test_what_is_being_ended_counts_among_the_most() -> None:
    ending = [cloud(f"m{i}", "x", state=State.ENDING) for i in range(4)]
    assert plan.starts(scene(ending, [ask("w")], group=CLOUD), 0) == []


def test_builds_of_one_sandbox_share_a_machine_with_slots() -> None:
    many = [ask(f"w{i}") for i in range(4)]
    group = replace(CLOUD, max_per_host=4)
    assert plan.starts(scene([], many, group=group), 0) == [""]
    strangers = [ask(f"w{i}", f"s{i}") for i in range(3)]
    assert plan.starts(scene([], strangers, group=group), 0) == [""] * 3


def test_after_a_failure_one_is_tried_at_a_time_and_not_before_the_pause_is_over() -> None:
    asked = [ask(f"w{i}", f"s{i}") for i in range(3)]
    trouble = {0: Trouble(count=2, reason="no", not_before=1010.0)}
    assert plan.starts(scene([], asked, group=CLOUD, spawning=trouble), 0) == []
    later = scene([], asked, group=CLOUD, spawning=trouble, now=1010.0)
    assert plan.starts(later, 0) == [""]
    going = scene([cloud("m", state=State.STARTING)], asked, group=CLOUD, spawning=trouble, now=2e3)
    assert plan.starts(going, 0) == []


def test_a_ticket_is_taken_for_each_who_waits_and_no_other() -> None:
    coming = cloud("t", "s1", kind=Kind.TICKET, state=State.STARTING)
    asked = [ask("w1", "s1"), ask("w2", "s1"), ask("w3", "s2")]
    assert plan.starts(scene([coming], asked, group=TICKETS), 0) == ["s1", "s2"]
    assert plan.ends(scene([coming], asked, group=TICKETS)) == {}
    assert list(plan.ends(scene([coming], [ask("w3", "s2")], group=TICKETS))) == ["t"]


def test_idle_machines_end_but_not_the_reserve() -> None:
    group = replace(CLOUD, preallocate=1, host_idle_time=100)
    machines = [
        cloud("spare1", idle_since=10),
        cloud("spare2", idle_since=20),
        cloud("bound", "x", idle_since=30),
        cloud("fresh", "x", idle_since=950),
    ]
    assert set(plan.ends(scene(machines, group=group))) == {"spare1", "bound"}


def test_a_kept_machine_makes_room_for_who_waits() -> None:
    full = [cloud(f"m{i}", f"s{i}", idle_since=900.0 + i) for i in range(4)]
    assert plan.ends(scene(full, [ask("w", "new")], group=CLOUD)) == {"m0": "makes room"}
    busy = [held("x", "m0", "s0")]
    assert plan.ends(scene(full, [ask("w", "new")], busy, CLOUD)) == {"m1": "makes room"}
    going = [*full[:3], cloud("m3", "s3", state=State.ENDING)]
    assert plan.ends(scene(going, [ask("w", "new")], group=CLOUD)) == {}
    assert plan.ends(scene(full, group=CLOUD)) == {}


def test_machines_of_a_group_that_makes_none_any_more_end() -> None:
    assert set(plan.ends(scene([cloud("m", "x"), host("a")], group=STATIC))) == {"m"}


def test_removed_by_hand_but_not_under_a_build() -> None:
    machine = cloud("m", "x", removing=True, idle_since=999)
    assert plan.ends(scene([machine], group=CLOUD)) == {"m": "removed by hand"}
    assert plan.ends(scene([machine], leases=[held("w", "m", "x")], group=CLOUD)) == {}


# --- health ----------------------------------------------------------------------------------


def test_quarantine_after_failures_in_a_row_longer_each_time() -> None:
    machine = host("a")
    for _ in range(2):
        machine = pool.released(machine, Outcome.FAULT, "disk", 1.0, RULES)
        assert machine.state is State.CHECKING
        machine = pool.passed(machine, 2.0, RULES)
    machine = pool.released(machine, Outcome.FAULT, "disk", 10.0, RULES)
    assert (machine.state, machine.reason, machine.not_before) == (State.QUARANTINED, "disk", 40.0)
    machine = pool.passed(machine, 41.0, RULES)
    assert machine.state is State.READY
    machine = pool.released(machine, Outcome.FAULT, "disk", 50.0, RULES)  # on probation
    assert (machine.state, machine.not_before) == (State.QUARANTINED, 110.0)
    machine = pool.released(pool.passed(machine, 120.0, RULES), Outcome.WORKED, "", 130.0, RULES)
    assert (machine.failures, machine.strikes) == (0, 0)


def test_a_failed_build_is_no_fault_of_its_host_nor_is_a_dead_worker() -> None:
    machine = host("a", failures=2)
    assert pool.released(machine, Outcome.WORKED, "", 1.0, RULES).failures == 0
    died = pool.released(machine, Outcome.DIED, "its worker died", 1.0, RULES)
    assert (died.failures, died.state) == (2, State.CHECKING)


def test_a_host_that_is_not_reached_is_asked_less_and_less_often() -> None:
    machine, pauses = host("a"), []
    for now in range(0, 500, 100):
        machine = pool.missed(machine, "refused", float(now), RULES)
        pauses.append(machine.not_before - now)
    assert pauses == [2.0, 4.0, 30.0, 60.0, 120.0]
    assert machine.state is State.QUARANTINED


def test_a_new_machine_has_time_to_come_up_and_one_on_demand_is_not_nursed() -> None:
    new = cloud("m", state=State.CHECKING, proven=False, born=0.0)
    assert pool.missed(new, "refused", 99.0, RULES).state is State.CHECKING
    assert pool.missed(new, "refused", 100.0, RULES).state is State.ENDING
    spoiled = pool.released(cloud("m", "s"), Outcome.FAULT, "hung", 5.0, RULES)
    assert (spoiled.state, spoiled.reason) == (State.ENDING, "hung")


def test_a_record_of_the_future_counts_as_of_now() -> None:
    """The clock was put back while nobody ran."""
    ill = replace(host("a"), state=State.QUARANTINED, born=5.0, since=900.0, not_before=930.0)
    found = pool.settled(ill, 100.0)
    assert (found.born, found.since, found.not_before) == (5.0, 100.0, 100.0)
    assert plan.checks(scene([found], now=100.0), set()) == ["a"]
    assert pool.settled(ill, 910.0) == ill  # a pause that is not over


def test_one_address_is_one_machine() -> None:
    there = [
        cloud("a", address="ssh://root@10.0.0.1", foreign="i-1", state=State.ENDING),
        cloud("t", address="ssh://root@10.0.0.3", kind=Kind.TICKET, state=State.ENDING),
        cloud("u", address="ssh://root@10.0.0.4", kind=Kind.TICKET),
    ]
    new = cloud("new", state=State.STARTING)
    assert "the address of host a " in pool.taken(there, new, "ssh://mock@10.0.0.1")
    assert "the address of host u " in pool.taken(there, new, "ssh://root@10.0.0.4")
    assert "the name of host a " in pool.taken(there, new, "ssh://root@10.0.0.9", "i-1")
    assert "the name of host u " in pool.taken(there, new, "ssh://root@10.0.0.9", "u")
    assert pool.taken(there, new, "ssh://root@10.0.0.1:2222", "i-2") == ""
    assert pool.taken(there, new, "ssh://root@10.0.0.3") == ""  # given back
    assert pool.taken(there, new, "") == ""
    assert pool.taken([*there, new], new, "ssh://root@10.0.0.9", "new") == ""


def test_a_machine_must_be_none_of_the_others_but_groups_share_a_host() -> None:
    one = host("u@a", address="ssh://u@a")
    there = [
        one,
        host("u@a/1", address="ssh://u@a"),
        host("local", address="local"),
        cloud("m", address="ssh://u@m", state=State.ENDING),
        cloud("t", address="ssh://u@t", kind=Kind.TICKET, state=State.ENDING),
        cloud("s", state=State.STARTING),
    ]
    assert pool.others(there, one) == ["ssh://u@m"]
    shared = [replace(STATIC, max_per_host=2), replace(STATIC, max_per_host=3), CLOUD]
    assert pool.places(shared, replace(one, slots=3)) == 5
    assert pool.places(shared, cloud("m", address="ssh://u@m", slots=4)) == 4


def test_a_used_ticket_is_given_back() -> None:
    ticket = cloud("t", "s", kind=Kind.TICKET)
    assert pool.released(ticket, Outcome.WORKED, "", 1.0, RULES).state is State.ENDING


def test_idle_hosts_are_checked_and_those_in_use_are_not() -> None:
    machines = [host("idle", checked=900), host("fresh", checked=990), host("busy")]
    now = scene(machines, leases=[held("w", "busy")])
    assert plan.checks(now, set()) == ["idle"]
    assert plan.checks(now, {"idle"}) == []


def test_where_no_host_is_left_builds_do_not_wait_for_the_end_of_a_long_pause() -> None:
    """Power is back, and all hosts would not be asked for an hour."""
    lost = {"state": State.QUARANTINED, "checked": 900.0, "not_before": 4000.0}
    away, bad = host("away", misses=3, **lost), host("bad", failures=3, **lost)
    waiting = [ask("w")]
    assert plan.checks(scene([away, bad], waiting), set()) == ["away"]
    assert plan.checks(scene([away, bad], waiting, now=959.0), set()) == []
    assert plan.checks(scene([away, bad]), set()) == []  # nobody waits
    assert plan.checks(scene([away, host("well", checked=999.0)], waiting), set()) == []
    drained = host("drained", drained="repair", checked=999.0)
    assert plan.checks(scene([away, drained], waiting), set()) == ["away"]
    assert plan.why(scene([away], waiting), waiting[0]).endswith("1 quarantined")


def test_a_host_that_is_asked_before_its_time_does_not_pay_for_it() -> None:
    lost = host("a", state=State.QUARANTINED, strikes=2, misses=3, not_before=400.0, reason="old")
    after = pool.missed(lost, "refused", 300.0, RULES)
    assert after == replace(lost, misses=4, checked=300.0, reason="refused")
    assert pool.passed(after, 310.0, RULES).state is State.READY


# --- for people ------------------------------------------------------------------------------


def test_why_a_build_waits() -> None:
    machines = [
        host("a"),
        host("b"),
        host("c", state=State.QUARANTINED, reason="connection refused"),
    ]
    now = scene(machines, [ask("w")], [held("x", "a"), held("y", "b")])
    expected = "no free host in group PC: 2 busy, 1 quarantined: connection refused"
    assert plan.why(now, now.waiting[0]) == expected
    trouble = {0: Trouble(count=3, reason="quota", not_before=1.0)}
    failing = scene([], [ask("w")], group=CLOUD, spawning=trouble)
    assert "new machines fail (3 in a row): quota" in plan.why(failing, failing.waiting[0])
    full = scene([cloud(f"m{i}", "x") for i in range(4)], [ask("w")], group=CLOUD)
    assert "4 kept for others, at most 4 machines (max_hosts)" in plan.why(full, full.waiting[0])


def test_a_record_survives_json_and_another_version() -> None:
    machine = cloud("m", "s", data="{}")
    assert Machine.from_dict({**machine.to_dict(), "new_field": 1}) == machine
