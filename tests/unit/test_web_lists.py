"""Lists of builds: by page and by state, and what they may cost."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, delete, event, insert, select
from sqlalchemy.orm import Session

from backend.constants import Status
from backend.web import longlist, states
from backend.web.marks import STEP, Marks
from backend.web.models import Base, Build
from backend.web.paging import Paging
from tests.unit.test_web_lab import CHROOTS, Lab, running_lab

FEDORA, DEBIAN = CHROOTS
WHERE = "ownername=admin&projectname=hello"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path) as made:
        yield made


def ids(lab: Lab, more: str = "") -> list[int]:
    reply = lab.client.get(f"/api_3/build/list?{WHERE}{more}")
    assert reply.status_code == 200, reply.text
    return [item["id"] for item in reply.json()["items"]]


def check_finals(lab: Lab) -> None:
    with Session(lab.app.state.context.engine) as session:
        builds = list(session.scalars(select(Build)))
        assert [build.final for build in builds] == [states.final(build) for build in builds]


def builds_of_all_states(lab: Lab) -> dict[str, int]:
    lab.project(chroots=[FEDORA, DEBIAN])
    made = {
        state: lab.submit()
        for state in (
            "succeeded",
            "failed",
            "canceled",
            "skipped",
            "starting",
            "running",
            "pending",
        )
    }
    made |= {"broken": lab.submit(), "stopped": lab.submit(), "waiting": lab.submit()}
    check_finals(lab)
    for state in ("succeeded", "failed", "skipped", "starting", "running", "stopped"):
        lab.source_done(made[state])
    check_finals(lab)
    for state, (one, two) in {
        "succeeded": (Status.SUCCEEDED, Status.SKIPPED),
        "failed": (Status.SUCCEEDED, Status.FAILED),
        "skipped": (Status.SKIPPED, Status.SKIPPED),
        "starting": (Status.STARTING, Status.PENDING),
        "running": (Status.STARTING, Status.RUNNING),
    }.items():
        lab.report(made[state], FEDORA, status=int(one))
        lab.report(made[state], DEBIAN, status=int(two))
        check_finals(lab)
    lab.report(made["broken"], status=int(Status.FAILED))
    for state in ("canceled", "stopped"):
        assert lab.api("PUT", f"/build/cancel/{made[state]}").status_code == 200
        check_finals(lab)
    lab.back(f"build-tasks/canceled/{made['stopped']}-{FEDORA}", {})
    lab.back(
        "reschedule_build_chroot",
        {"build_id": made["running"], "task_id": f"{made['running']}-{DEBIAN}"},
    )
    check_finals(lab)
    return made


def test_each_state_lists_its_builds_and_no_others(lab: Lab) -> None:
    made = builds_of_all_states(lab)
    every = ids(lab)
    assert every == sorted(made.values())
    by_state: dict[str, list[int]] = {}
    for number in every:
        by_state.setdefault(lab.state(number), []).append(number)
    assert set(by_state) == {"succeeded", "failed", "canceled", "skipped", "starting", "pending"}
    for status in Status:
        assert ids(lab, f"&status={status.label}") == by_state.get(status.label, [])


def test_forks_are_final(lab: Lab) -> None:
    lab.project(chroots=[FEDORA])
    build = lab.submit()
    lab.source_done(build)
    lab.report(build, FEDORA, status=1)
    assert lab.api("POST", "/project/fork/admin/hello", {"name": "copy"}).status_code == 200
    check_finals(lab)
    reply = lab.client.get("/api_3/build/list?ownername=admin&projectname=copy&status=forked")
    assert [item["id"] for item in reply.json()["items"]] == [build + 1]


@pytest.mark.parametrize("more", ["", "&status=pending", "&packagename=hello", "&order_type=DESC"])
def test_pages_join_to_the_whole_list(lab: Lab, more: str) -> None:
    lab.project(chroots=[FEDORA])
    for _ in range(7):
        build = lab.submit()
        lab.source_done(build)
    whole = ids(lab, more)
    assert len(whole) == 7
    pages = [ids(lab, f"{more}&limit=3&offset={offset}") for offset in (0, 3, 6, 9)]
    assert pages == [whole[:3], whole[3:6], whole[6:], []]


@pytest.mark.parametrize(
    "more", ["", "&status=succeeded", "&packagename=hello", "&order_type=DESC"]
)
def test_a_page_is_found_in_an_index_alone(lab: Lab, more: str) -> None:
    """Then rows before the page are not even read: they cost next to nothing."""
    lab.project(chroots=[FEDORA])
    engine: Engine = lab.app.state.context.engine
    seen: list[tuple[str, object]] = []

    def note(_c: object, _cursor: object, statement: str, values: object, *_: object) -> None:
        if "OFFSET" in statement or "count(" in statement:
            seen.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    ids(lab, f"{more}&limit=10&offset=90000")
    event.remove(engine, "before_cursor_execute", note)
    ((statement, values),) = seen
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)  # type: ignore[arg-type]
        steps = [row.detail for row in plan]
    assert len(steps) == 1, steps
    assert "COVERING INDEX" in steps[0]


# --- marks: pages found without walking over those before them --------------------------------


def test_marks_are_the_last_before_a_place() -> None:
    marks = Marks()
    assert marks.before(1, 10**6) == (0, 0)
    for offset in (2 * STEP, STEP, 2 * STEP + 1, 10, 5 * STEP):  # two of them are near others
        marks.add(marks.version, 1, offset, offset + 7)
    assert marks.before(1, STEP - 1) == (0, 0)
    assert marks.before(1, 2 * STEP - 1) == (STEP, STEP + 7)
    assert marks.before(1, 5 * STEP - 1) == (2 * STEP, 2 * STEP + 7)
    assert marks.before(1, 10**6) == (5 * STEP, 5 * STEP + 7)
    assert marks.before(2, 10**6) == (0, 0)
    old = marks.version
    marks.forget(1)
    marks.add(old, 1, STEP, 9)  # was read before the deletion
    assert marks.before(1, 10**6) == (0, 0)


@pytest.fixture(scope="module")
def store() -> Iterator[Engine]:
    made = create_engine("sqlite://")
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def _stored(session: Session, number: int) -> None:
    session.execute(insert(Build), [{
        "id": number, "project_id": 1, "dirname": "x", "submitter": "x", "source_type": 1,
        "source": {}, "timeout": 1, "submitted_on": 1,
    }])  # fmt: skip


@given(st.data())
def test_pages_are_those_of_the_whole_list_whatever_happens(
    store: Engine, data: st.DataObject
) -> None:
    """The same answers as counting, with builds that come and go between any pages."""
    builds = [number for number in range(3, 120, 2) if number % 7]
    last, marks = builds[-1], Marks()
    with pytest.MonkeyPatch.context() as patch, Session(store) as session:  # rolled back at last
        patch.setattr("backend.web.marks.STEP", 5)
        for number in builds:
            _stored(session, number)
        for _ in range(20):
            what = data.draw(st.sampled_from(("ASC", "ASC", "DESC", "DESC", "add", "delete")))
            if what == "add":
                last += data.draw(st.integers(1, 3))
                _stored(session, last)
                builds.append(last)
            elif what == "delete":
                gone = builds.pop(data.draw(st.integers(0, len(builds) - 1)))
                session.execute(delete(Build).where(Build.id == gone))
                marks.forget(1)
            else:
                offset = data.draw(st.integers(0, len(builds) + 3))
                limit = data.draw(st.integers(1, 30))
                part = Paging(limit, offset, "id", what)
                whole = builds if what == "ASC" else builds[::-1]
                found = longlist.ids(session, marks, 1, part, marks.version)
                assert list(found) == whole[offset : offset + limit]


def test_pages_follow_what_is_deleted_and_submitted(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.web.marks.STEP", 1)
    lab.project(chroots=[FEDORA])
    for _ in range(6):
        lab.report(lab.submit(), status=int(Status.FAILED))
    assert ids(lab, "&limit=2") == [1, 2]
    assert ids(lab, "&limit=2&offset=4") == [5, 6]
    marks = lab.app.state.context.marks
    assert marks.before(1, 5) == (4, 5)
    lab.submit()
    assert ids(lab, "&limit=2&offset=5") == [6, 7]
    assert lab.api("DELETE", "/build/delete/2").status_code == 200
    assert marks.before(1, 5) == (0, 0)
    assert ids(lab, "&limit=2&offset=4") == [6, 7]
    assert lab.api("DELETE", "/build/delete/list", {"builds": [1, 3]}).status_code == 200
    assert ids(lab, "&limit=2&offset=2") == [6, 7]


@pytest.mark.parametrize("order", ["ASC", "DESC"])
def test_a_page_that_was_seen_before_is_near_a_mark(
    lab: Lab, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is walked over is less than the distance of two marks, wherever the page begins."""
    monkeypatch.setattr("backend.web.marks.STEP", 2)
    lab.project(chroots=[FEDORA])
    for _ in range(9):
        lab.report(lab.submit(), status=int(Status.FAILED))
    engine: Engine = lab.app.state.context.engine
    skipped: list[int] = []

    def note(
        _c: object, _cursor: object, statement: str, values: tuple[int, ...], *_: object
    ) -> None:
        if "OFFSET" in statement:
            skipped.append(values[-1])

    for _ in range(2):
        walked = [ids(lab, f"&order_type={order}&limit=2&offset={at}") for at in range(8)]
        event.listen(engine, "before_cursor_execute", note)
    assert walked[3] == ([4, 5] if order == "ASC" else [6, 5])
    event.remove(engine, "before_cursor_execute", note)
    assert len(skipped) == 8
    assert max(skipped) <= 2
