"""The latest builds of packages, asked of the database: the cost is that of the answer."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, true
from sqlalchemy.orm import Session

from backend.constants import FINISHED, Status
from backend.web import states
from backend.web.models import Build, BuildChroot, Project


def _any(statuses: Sequence[Status]) -> ColumnElement[bool]:
    return exists(
        select(BuildChroot.name).where(
            BuildChroot.build_id == Build.id,
            BuildChroot.status.in_([int(status) for status in statuses]),
        )
    )


def has_status(status: Status) -> ColumnElement[bool]:
    """`states.build_status` as a condition on builds; of those that are not finished, which are
    few, the tasks are looked at."""
    if status in FINISHED:
        return Build.final == int(status)
    first = [int(s) for s in states.SOURCE_FIRST]
    by_source = Build.source_status == int(status)
    own = and_(by_source, Build.source_status.in_(first))
    if status in states.ORDER:
        before = states.ORDER[: states.ORDER.index(status)]
        rest = and_(_any([status]), ~_any(before)) if before else _any([status])
    elif status == Status.WAITING:
        rest = ~_any(states.ORDER)
    else:
        return and_(Build.final.is_(None), own)
    return and_(Build.final.is_(None), or_(own, and_(Build.source_status.not_in(first), rest)))


def of_packages(
    session: Session, project: Project, names: Sequence[str], *, succeeded: bool = False
) -> dict[str, Build]:
    """The latest (succeeded) build of each of the packages that has one."""
    if not names:
        return {}
    query = (
        select(func.max(Build.id))
        .where(Build.project_id == project.id, Build.pkg_name.in_(names))
        .group_by(Build.pkg_name)
    )
    if succeeded:
        query = query.where(has_status(Status.SUCCEEDED))
    ids = list(session.scalars(query))
    builds = session.scalars(select(Build).where(Build.id.in_(ids)))
    return {str(build.pkg_name): build for build in builds}


def by_chroot(
    session: Session, project: Project, dirname: str, *, good: bool = False
) -> Sequence[Any]:
    """Rows (pkg_name, pkg_version, dirname, id, name, status, result_dir): the latest build of
    each package in each chroot of a directory of the project; with `good`, that succeeded
    and was not pruned."""
    fine = [int(Status.SUCCEEDED), int(Status.FORKED)]
    newest = (
        select(func.max(Build.id).label("id"), BuildChroot.name.label("chroot"))
        .join(BuildChroot, BuildChroot.build_id == Build.id)
        .where(
            Build.project_id == project.id, Build.dirname == dirname, Build.pkg_name.is_not(None)
        )
        .where(
            and_(BuildChroot.status.in_(fine), BuildChroot.pruned_on.is_(None)) if good else true()
        )
        .group_by(Build.pkg_name, BuildChroot.name)
        .subquery()
    )
    query = (
        select(
            *(Build.pkg_name, Build.pkg_version, Build.dirname, Build.id),
            *(BuildChroot.name, BuildChroot.status, BuildChroot.result_dir),
        )
        .join(newest, newest.c.id == Build.id)
        .join(
            BuildChroot,
            and_(BuildChroot.build_id == Build.id, BuildChroot.name == newest.c.chroot),
        )
        .order_by(Build.pkg_name, BuildChroot.name)
    )
    return session.execute(query).all()
