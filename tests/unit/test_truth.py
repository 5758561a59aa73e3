"""Faults of the conveyor: a task in two places."""

from hypothesis import given
from hypothesis import strategies as st

from backend.truth import faults


def places(found: list[tuple[str, int | None]]) -> list[tuple[str, int | None]]:
    return sorted(found, key=str)


def test_each_fault_names_what_has_to_go() -> None:
    found = faults(
        {0: ["1", "2", "1", "3"], 1: ["2", "9", "4"]}, {"0-0-5": "3", "0-1-6": "8"}, ["9", "8"]
    )
    assert places([(fault.task, fault.group) for fault in found]) == places(
        [("1", 0), ("2", 1), ("3", 0), ("9", 1), ("8", None)]
    )


tasks = st.sampled_from("abcdef")


@given(
    st.dictionaries(st.integers(0, 2), st.lists(tasks, max_size=6)),
    st.dictionaries(st.sampled_from(["w0", "w1", "w2"]), tasks),
    st.lists(tasks, max_size=3),
)
def test_after_the_repair_every_queued_task_is_in_one_place(
    queued: dict[int, list[str]], claims: dict[str, str], reported: list[str]
) -> None:
    everything = {*(t for q in queued.values() for t in q), *claims.values(), *reported}
    for fault in faults(queued, claims, reported):
        if fault.group is not None:
            entries = queued[fault.group]
            last = len(entries) - 1 - entries[::-1].index(fault.task)
            del entries[last]
        else:
            claims = {worker: task for worker, task in claims.items() if task != fault.task}
    left = [task for entries in queued.values() for task in entries]
    assert len(left) == len(set(left))
    assert not set(left) & {*claims.values(), *reported}
    assert not set(claims.values()) & set(reported)
    assert {*left, *claims.values(), *reported} == everything
    assert faults(queued, claims, reported) == []
