"""What the embedded frontend knows of results that may be pruned, and what it is told of them.

The database decides: what is pruned is first given up there, in a transaction that sees every
build in progress and every action that waits. Pages then never promise what is gone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Engine, and_, or_, select
from sqlalchemy.orm import Session

from backend.constants import SRPM_CHROOT, ActionResult, ActionType, Status
from backend.pruning import ALL, LOGS, Found, Known, Step
from backend.web import settings
from backend.web.models import Action, Build, BuildChroot, CancelRequest, Project
from backend.web.queries import find_project, in_progress
from backend.web.states import ACTIVE, now

T = TypeVar("T")
_READERS = tuple(
    int(kind) for kind in (ActionType.FORK, ActionType.RAWHIDE_TO_RELEASE, ActionType.CREATEREPO)
)


class EmbeddedBooks:
    """`prune.Books` on the frontend's database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _write(self, body: Callable[[Session], T]) -> T:
        with Session(self._engine.execution_options(copr_write=True)) as session, session.begin():
            return body(session)

    def unfinished(self) -> frozenset[str]:
        """Tasks that are not finished, and those that somebody still has to let go of."""
        active = [int(status) for status in (*ACTIVE, Status.IMPORTING)]
        waits = (BuildChroot.status == int(Status.WAITING), Build.canceled.is_(False))
        ready = and_(*waits, Build.source_status == int(Status.SUCCEEDED))
        with Session(self._engine) as session:
            chroots = (
                select(Build.id)
                .join(BuildChroot, BuildChroot.build_id == Build.id)
                .where(or_(BuildChroot.status.in_(active), ready))
                .distinct()
            )
            sources = select(Build.id).where(Build.source_status.in_(active))
            asked = select(CancelRequest.build_id)
            found = {*session.scalars(chroots), *session.scalars(sources), *session.scalars(asked)}
        return frozenset(str(number) for number in found)

    def wanted(self) -> frozenset[str]:
        """Results that waiting actions are going to copy."""
        with Session(self._engine) as session:
            return frozenset(wanted_places(session))

    def known(self, owner: str, dirname: str) -> Known | str:
        """The settings of the project that the directory belongs to."""
        with Session(self._engine) as session:
            project = find_project(session, owner, dirname.partition(":")[0])
            if project is None:
                return "the frontend has no such project"
            return Known(
                keep=settings.of(project, "prune_keep"),
                auto=settings.of(project, "auto_prune") and not settings.of(project, "persistent"),
                devel=settings.of(project, "devel_mode"),
                claimed=frozenset(_claimed(session, project, dirname)),
            )

    def claim(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Give them up, but not what is in progress or wanted by now."""

        def body(session: Session) -> list[Step]:
            wanted = frozenset(wanted_places(session))
            return [step for step in steps if _give_up(session, step, wanted)]

        return self._write(body) if steps else steps

    def gone(self, steps: Sequence[Step]) -> None:
        """Forget the directories that are gone as a whole."""

        def body(session: Session) -> None:
            for step in steps:
                if step.what != ALL:
                    continue
                _, row = _rows(session, step.found)
                if row is not None:
                    row.result_dir = None
                if isinstance(row, Build):
                    _forget_source(row)

        if steps:
            self._write(body)

    def chroot_gone(self, owner: str, dirname: str, chroot: str) -> None:
        """The project does not build for it any more, and has no results there."""

        def body(session: Session) -> None:
            project = find_project(session, owner, dirname.partition(":")[0])
            if project is None:
                return
            if dirname == project.name:
                project.chroots = [name for name in project.chroots if name != chroot]
            rows = (
                select(BuildChroot)
                .join(Build, Build.id == BuildChroot.build_id)
                .where(Build.project_id == project.id, Build.dirname == dirname)
                .where(BuildChroot.name == chroot, BuildChroot.result_dir.is_not(None))
            )
            for row in session.scalars(rows):
                row.result_dir, row.pruned_on = None, row.pruned_on or now()

        self._write(body)

    def finished(self) -> None:
        """Nobody is to be told."""


def wanted_places(session: Session) -> Iterator[str]:
    """Places that waiting actions are going to read, and those that they are going to make."""
    waiting = select(Action).where(
        Action.result == int(ActionResult.WAITING), Action.action_type.in_(_READERS)
    )
    for action in session.scalars(waiting):
        builds: dict[str, Any] = action.data.get("builds_map") or {}
        for chroot, names in builds.items():
            yield from (f"{action.old_value}/{chroot}/{name}" for name in names)
            yield from (f"{action.new_value}/{chroot}/{name}" for name in names.values())
        released = action.data.get("builds")
        if isinstance(released, dict):  # of a project that publishes by hand
            base = f"{action.owner}/{action.data.get('projectname')}"
            for chroot, names in released.items():
                yield from (f"{base}/{chroot}/{name}" for name in names)
            continue
        where = f"{action.owner}/{action.data.get('copr_dir')}/{action.data.get('rawhide_chroot')}"
        yield from (f"{where}/{name}" for name in released or ())


def _claimed(session: Session, project: Project, dirname: str) -> Iterator[str]:
    """Places that were given up, whose directory was not seen to go."""
    base = f"{project.owner}/{dirname}"
    own = (Build.project_id == project.id, Build.dirname == dirname)
    sources = select(Build.result_dir).where(*own, Build.pruned_on.is_not(None))
    for name in session.scalars(sources.where(Build.result_dir.is_not(None))):
        yield f"{base}/{SRPM_CHROOT}/{name}"
    chroots = (
        select(BuildChroot.name, BuildChroot.result_dir)
        .join(Build, Build.id == BuildChroot.build_id)
        .where(*own, BuildChroot.pruned_on.is_not(None), BuildChroot.result_dir.is_not(None))
    )
    for chroot, name in session.execute(chroots):
        yield f"{base}/{chroot}/{name}"


def _rows(session: Session, found: Found) -> tuple[Build | None, Build | BuildChroot | None]:
    """The build of a result directory, and its row; None for what the database does not have."""
    build = session.get(Build, found.build) if found.build and found.build < 2**31 else None
    if build is None or (build.project.owner, build.dirname) != (found.owner, found.dirname):
        return None, None
    if found.chroot == SRPM_CHROOT:
        return build, build if build.result_dir in (None, found.name) else None
    row = next((c for c in build.chroots if c.name == found.chroot), None)
    if row is None or row.result_dir not in (None, found.name):
        return build, None
    return build, row


def _give_up(session: Session, step: Step, wanted: frozenset[str]) -> bool:
    if step.found.place in wanted:
        return False
    build, row = _rows(session, step.found)
    if build is not None and in_progress(session, build):
        return False
    if row is not None and step.what != LOGS:
        row.pruned_on = row.pruned_on or now()
    return True


def _forget_source(build: Build) -> None:
    """Without its directory nobody can build the source package again."""
    if build.srpm_url and f"/{SRPM_CHROOT}/{build.id:08d}/" in build.srpm_url:
        build.srpm_url = None


def in_hand(session: Session, builds: Sequence[Build]) -> bool:
    """True when a waiting action copies or makes results of these builds: deleting them at once
    would lose them, or they would come back."""
    wanted = frozenset(wanted_places(session))
    return any(
        f"{build.project.owner}/{build.dirname}/{chroot.name}/{chroot.result_dir}" in wanted
        for build in (builds if wanted else ())
        for chroot in build.chroots
    )
