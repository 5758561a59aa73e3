"""Copies of builds in another project, as forks and promotions make them."""

from typing import Any

from sqlalchemy.orm import Session

from backend.constants import Status
from backend.web.models import Build, BuildChroot, Project
from backend.web.states import now

#: What a copy has of its original.
_SAME = (
    *("source_type", "source", "timeout", "enable_net", "isolation"),
    *("pkg_name", "pkg_version", "started_on", "ended_on"),
)


def of_build(
    session: Session, build: Build, target: Project, submitter: str, options: Any
) -> Build:
    """A copy of the build in `target`, without chroots; it has its number already."""
    copy = Build(
        **{name: getattr(build, name) for name in _SAME},
        options=options,
        project_id=target.id,
        dirname=target.name,
        submitter=submitter,
        source_status=int(Status.SUCCEEDED),
        canceled=False,
        background=False,
        excluded=[],
        submitted_on=now(),
        chroots=[],
    )
    session.add(copy)
    session.flush()
    return copy


def of_chroot(row: BuildChroot, original: BuildChroot, where: str) -> BuildChroot:
    """Make the row of a copy tell what `original` does; its results are in `where`."""
    row.status, row.result_dir, row.pruned_on = int(Status.FORKED), where, None
    row.started_on, row.ended_on = original.started_on, original.ended_on
    row.packages = original.packages
    return row
