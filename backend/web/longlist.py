"""A page of all builds of a project, found without walking over those before it (see `marks`).

Not of those in one state: a build enters or leaves a state anywhere among the others, with each
report, which would move every mark beyond it. They are walked over, in an index that holds no
others.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.web.marks import Marks
from backend.web.models import Build
from backend.web.paging import Paging

_ORDER = {"id": Build.id}


def ids(session: Session, marks: Marks, project: int, part: Paging, version: int) -> Sequence[int]:
    """The ids of the builds on that page; `version` is that of the marks before `session` saw
    the database."""
    downwards = part.order_type == "DESC"
    walk = _downwards if downwards else _upwards
    return walk(session, marks, project, part, version)


def _upwards(
    session: Session, marks: Marks, project: int, part: Paging, version: int
) -> Sequence[int]:
    skipped, first = marks.before(project, part.offset)
    query = select(Build.id).where(Build.project_id == project, Build.id >= first)
    found = session.scalars(replace(part, offset=part.offset - skipped).apply(query, _ORDER)).all()
    if found:
        marks.add(version, project, part.offset, found[0])
        marks.add(version, project, part.offset + len(found), found[-1] + 1)
    return found


def _downwards(
    session: Session, marks: Marks, project: int, part: Paging, version: int
) -> Sequence[int]:
    total = _total(session, marks, project, version)
    top = total - part.offset  # so many builds are on this page and on those after it
    if top <= 0:
        return []
    query = select(Build.id).where(Build.project_id == project)
    skip = part.offset
    if mark := marks.beyond(project, top):
        skip = mark[0] - top
        query = query.where(Build.id < mark[1])
    found = session.scalars(replace(part, offset=skip).apply(query, _ORDER)).all()
    if found:
        marks.add(version, project, top, found[0] + 1)
        marks.add(version, project, top - len(found), found[-1])
    return found


def _total(session: Session, marks: Marks, project: int, version: int) -> int:
    """How many builds the project has."""
    known, first = marks.last(project)
    query = select(func.count(), func.max(Build.id)).where(
        Build.project_id == project, Build.id >= first
    )
    more, newest = session.execute(query).one()
    if more:
        marks.add(version, project, known + more, newest + 1)
    return int(known + more)
