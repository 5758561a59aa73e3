"""Group commit: many requests, few commits, and each gets what it did."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session

from backend.web.models import Base, Package, Project
from backend.web.store import make_engine
from backend.web.writer import GROUP, Writer, announce
from tests.conftest import wait_until


class Desk:
    def __init__(self, engine: Engine, *, inline: bool) -> None:
        self.wakes: list[tuple[str, list[dict[str, Any]]]] = []
        self.engine = engine
        self.writer = Writer(
            engine, lambda why, tasks: self.wakes.append((why, tasks)), inline=inline
        )
        self.commits = 0
        event.listen(engine, "commit", self._count)

    def _wake(self, why: str, tasks: list[dict[str, Any]]) -> None:
        self.wakes.append((why, tasks))

    def _count(self, _connection: Any) -> None:
        self.commits += 1

    def names(self) -> list[str]:
        with Session(self.engine) as session:
            return list(session.scalars(select(Package.name).order_by(Package.id)))


@pytest.fixture(params=[True, False], ids=["inline", "thread"])
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    engine = make_engine(f"sqlite:///{tmp_path}/db")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Project(id=1, owner="o", name="p", created_on=0))
    yield Desk(engine, inline=request.param)
    engine.dispose()


def adding(name: str) -> Any:
    def body(session: Session) -> str:
        session.add(Package(project_id=1, name=name))
        announce(session, "new", [{"task_id": name}])
        return name

    return body


def test_many_share_a_commit_and_one_wake(desk: Desk) -> None:
    async def run() -> list[Any]:
        return await asyncio.gather(*(desk.writer.write(adding(f"{n:03}")) for n in range(50)))

    expected = [f"{number:03}" for number in range(50)]
    assert asyncio.run(run()) == expected
    assert desk.names() == expected
    assert desk.commits <= 2
    told = [task["task_id"] for _, tasks in desk.wakes for task in tasks]
    assert told == expected
    assert len(desk.wakes) <= 2


def test_a_group_is_bounded(desk: Desk) -> None:
    async def run() -> None:
        await asyncio.gather(*(desk.writer.write(adding(str(n))) for n in range(3 * GROUP)))

    asyncio.run(run())
    assert 3 <= desk.commits <= 4


def test_a_refused_request_undoes_only_itself(desk: Desk) -> None:
    def broken(session: Session) -> None:
        adding("bad")(session)
        session.flush()
        raise ZeroDivisionError

    async def run() -> list[Any]:
        bodies = [adding("a"), broken, adding("b"), adding("a"), adding("c")]
        return await asyncio.gather(*map(desk.writer.write, bodies), return_exceptions=True)

    first, second, third, twice, last = asyncio.run(run())
    assert (first, third, last) == ("a", "b", "c")
    assert isinstance(second, ZeroDivisionError)
    assert "UNIQUE" in str(twice)
    assert desk.names() == ["a", "b", "c"]
    # Each wake is a thread's work: they may overtake each other.
    assert sorted(task["task_id"] for _, tasks in desk.wakes for task in tasks) == ["a", "b", "c"]


def test_a_lone_request_that_is_refused_leaves_nothing(desk: Desk) -> None:
    def broken(session: Session) -> None:
        adding("bad")(session)
        session.flush()
        raise ZeroDivisionError

    async def run() -> None:
        await desk.writer.write(adding("a"))
        with pytest.raises(ZeroDivisionError):
            await desk.writer.write(broken)
        await desk.writer.write(adding("b"))

    asyncio.run(run())
    assert desk.names() == ["a", "b"]
    assert sorted(task["task_id"] for _, tasks in desk.wakes for task in tasks) == ["a", "b"]


def test_slow_commits_leave_the_event_loop(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[bool] = []
    loop_thread = threading.get_ident()
    event.listen(
        desk.engine, "commit", lambda _: where.append(threading.get_ident() == loop_thread)
    )
    monkeypatch.setattr("backend.web.writer.SLOW_COMMIT", 60.0)
    asyncio.run(desk.writer.write(adding("quick")))
    monkeypatch.setattr("backend.web.writer.SLOW_COMMIT", 0.0)
    asyncio.run(desk.writer.write(adding("slow")))
    assert where[-1] is False
    assert desk.names() == ["quick", "slow"]


def test_nobody_is_answered_when_the_commit_fails(desk: Desk) -> None:
    def full(_connection: Any) -> None:
        raise OSError("disk full")

    async def run() -> list[Any]:
        bodies = [adding("a"), adding("b")]
        return await asyncio.gather(*map(desk.writer.write, bodies), return_exceptions=True)

    event.listen(desk.engine, "commit", full)
    assert [str(error) for error in asyncio.run(run())] == ["disk full", "disk full"]
    event.remove(desk.engine, "commit", full)
    assert desk.names() == []
    assert desk.wakes == []
    assert asyncio.run(desk.writer.write(adding("c"))) == "c"


def test_threads_and_the_event_loop_take_turns(desk: Desk) -> None:
    inside, done = threading.Event(), threading.Event()

    def slow() -> None:
        with desk.writer.transaction() as session:
            adding("thread")(session)
            inside.set()
            assert done.wait(100)

    async def run() -> None:
        writing = asyncio.ensure_future(desk.writer.write(adding("loop")))
        await asyncio.sleep(0.05)
        assert not writing.done()
        done.set()
        assert await writing == "loop"

    thread = threading.Thread(target=slow)
    thread.start()
    assert inside.wait(100)
    asyncio.run(run())
    thread.join(100)
    assert desk.names() == ["thread", "loop"]
    wait_until(lambda: len(desk.wakes) == 2)


def test_who_does_not_wait_any_more_is_served_all_the_same(desk: Desk) -> None:
    async def run() -> None:
        gone = asyncio.ensure_future(desk.writer.write(adding("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        await desk.writer.write(adding("after"))

    asyncio.run(run())
    assert desk.names() == ["gone", "after"]
