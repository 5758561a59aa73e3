"""Batches: builds that start only when all builds of another batch are finished."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, exists, insert, or_, select, update

from backend.constants import Status
from backend.explain import Explain, Place
from backend.web import names, permissions, rows
from backend.web.errors import ApiError
from backend.web.models import Batch, Build, BuildChroot, User
from backend.web.states import ACTIVE, is_finished

_UNFINISHED = (*ACTIVE, Status.IMPORTING)
#: A query names at most so many batches.
_AT_ONCE = 500
_MOST = 2**53


def _chunks(numbers: Iterable[int]) -> Iterator[list[int]]:
    ordered = sorted(set(numbers))
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]


def _to_do() -> Any:
    """Condition: something of the build is still to be done."""
    chroots = select(BuildChroot.name).where(
        BuildChroot.build_id == Build.id, BuildChroot.status.in_([int(s) for s in ACTIVE])
    )
    return Build.canceled.is_(False) & or_(
        Build.source_status.in_([int(s) for s in _UNFINISHED]), exists(chroots)
    )


def blocked(connection: Connection, batches: Iterable[int]) -> dict[int, int]:
    """Those of the batches that must wait, each with the one that it waits for."""
    found: dict[int, int] = {}
    for some in _chunks(batches):
        query = select(Batch.id, Batch.blocked_by).where(
            Batch.id.in_(some),
            exists(select(Build.id).where(Build.batch_id == Batch.blocked_by, _to_do())),
        )
        found |= {row.id: row.blocked_by for row in connection.execute(query)}
    return found


def releases(connection: Connection, build: Build) -> bool:
    """True when the end of this build may let another batch start."""
    if build.batch_id is None or not is_finished(build):
        return False
    query = select(Batch.id).where(Batch.blocked_by == build.batch_id).limit(1)
    return connection.execute(query).first() is not None


def join(connection: Connection, user: User, body: Mapping[str, Any]) -> int | None:
    """The batch of a new build, as `after_build_id` or `with_build_id` asks; else None."""
    after = names.number(body, "after_build_id", 0, 1, _MOST)
    beside = names.number(body, "with_build_id", 0, 1, _MOST)
    if after and beside:
        raise ApiError(400, "Use either after_build_id or with_build_id, not both.")
    if beside:
        build = _other(connection, user, beside)
        if is_finished(build):
            raise ApiError(400, f"with_build_id: build {beside} is already finished")
        return _batch_of(connection, build)
    if after:
        before = _batch_of(connection, _other(connection, user, after))
        return _new(connection, before)
    return None


def _other(connection: Connection, user: User, number: int) -> Build:
    build = rows.builds(connection, [number]).get(number)
    if build is None or build.project.deleted_on is not None:
        raise ApiError(404, f"Build {number} does not exist.")
    if not permissions.may(connection, user, build.project, "builder"):
        raise ApiError(
            403, f"Build {number} is in {build.project.full_name}, where you are not allowed to"
            " build"
        )  # fmt: skip
    return build


def _batch_of(connection: Connection, build: Build) -> int:
    if build.batch_id is not None:
        return build.batch_id
    number = _new(connection, None)
    connection.execute(update(Build).where(Build.id == build.id).values(batch_id=number))
    return number


def _new(connection: Connection, blocked_by: int | None) -> int:
    result: Any = connection.execute(insert(Batch).values(blocked_by=blocked_by))
    return int(result.inserted_primary_key[0])


def explaining(explain: Explain, engine: Engine) -> Explain:
    """`explain`, which also knows of tasks that are not offered because their batch waits."""

    def look(tasks: Sequence[str]) -> Mapping[str, Place]:
        found = explain(tasks)
        numbers = {
            int(task) for task in tasks if task.isdigit() and task not in found and len(task) < 19
        }
        return {**_waiting(engine, numbers), **found} if numbers else found

    return look


def _waiting(engine: Engine, numbers: Iterable[int]) -> dict[str, Place]:
    places = {}
    with engine.connect() as connection:
        for some in _chunks(numbers):
            query = select(Build.id, Build.batch_id).where(
                Build.id.in_(some), Build.batch_id.is_not(None)
            )
            mine = {row.id: row.batch_id for row in connection.execute(query)}
            stopped = blocked(connection, mine.values()) if mine else {}
            for number, batch in mine.items():
                if batch in stopped:
                    text = f"waiting: for {_builds_text(connection, stopped[batch])}"
                    places[str(number)] = Place(place="waiting", text=text)
    return places


def _builds_text(connection: Connection, batch: int) -> str:
    query = select(Build.id).where(Build.batch_id == batch, _to_do()).order_by(Build.id)
    numbers = list(connection.scalars(query.limit(6)))
    listed = ", ".join(str(number) for number in numbers[:5]) + ("…" if len(numbers) > 5 else "")
    plural = "s" if len(numbers) > 1 else ""
    return f"build{plural} {listed} to finish (--after-build-id)"
