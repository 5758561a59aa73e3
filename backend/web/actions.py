"""Actions: work on the results beside builds, which the backend's own process carries out."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.constants import SRPM_CHROOT, ActionResult, ActionType
from backend.web import settings
from backend.web.errors import ApiError
from backend.web.models import Action, Build, Project
from backend.web.states import now
from backend.web.writer import announce

#: Why a repository is made (Copr's CreaterepoReason).
NEW_CHROOT, TOGGLE, BY_HAND = 1, 3, 4
_URGENT = -99


def _add(session: Session, project: Project, kind: ActionType, **values: Any) -> Action:
    action = Action(
        action_type=int(kind),
        project_id=project.id,
        owner=project.owner,
        created_on=now(),
        result=int(ActionResult.WAITING),
        **values,
    )
    session.add(action)
    announce(session, "action")
    return action


def createrepo(
    session: Session,
    project: Project,
    chroots: Sequence[str],
    reason: int,
    *,
    devel: bool = False,
    urgent: bool = False,
) -> None:
    """Have the metadata of chroots made or brought up to date."""
    if not chroots:
        return
    data = {
        "ownername": project.owner,
        "projectname": project.name,
        "project_dirnames": [project.name],
        "chroots": list(chroots),
        "appstream": settings.of(project, "appstream"),
        "storage": 0,
        "reason": reason,
        "persistent": settings.of(project, "persistent"),
        "devel": devel,
    }
    _add(
        session,
        project,
        ActionType.CREATEREPO,
        object_type="repository",
        object_id=0,
        data=data,
        priority=_URGENT if urgent else 0,
    )


def new_chroots(session: Session, project: Project, chroots: Sequence[str]) -> None:
    """Repositories of chroots that the project has got; in devel mode both kinds of each."""
    if settings.of(project, "devel_mode"):
        createrepo(session, project, chroots, NEW_CHROOT, devel=True, urgent=True)
    createrepo(session, project, chroots, NEW_CHROOT, urgent=True)


def gen_key(session: Session, project: Project) -> None:
    """Have a key made that signs what the project publishes."""
    data = {
        "ownername": project.owner,
        "projectname": project.name,
        "appstream": settings.of(project, "appstream"),
    }
    _add(session, project, ActionType.GEN_GPG_KEY, object_type="copr", data=data)


def release(session: Session, project: Project, builds: Mapping[str, Sequence[str]]) -> Action:
    """Have builds listed among the released packages of a project that publishes by hand, beside
    what is; `builds`: chroot → result directories. (`builds` is our own: Copr names no builds.)"""
    data = {
        "ownername": project.owner,
        "projectname": project.name,
        "project_dirnames": [project.name],
        "chroots": sorted(builds),
        "builds": {chroot: list(names) for chroot, names in builds.items()},
        "appstream": settings.of(project, "appstream"),
        "storage": 0,
        "reason": BY_HAND,
        "devel": False,
    }
    kind = ActionType.CREATEREPO
    action = _add(session, project, kind, object_type="repository", object_id=0, data=data)
    session.flush()
    return action


def copy(
    session: Session,
    source: str,
    target: Project,
    builds: Mapping[str, Mapping[str, str]],
    *,
    devel: bool,
) -> Action:
    """Have results in the directory `source` (`owner/dirname`) copied, as for a fork."""
    data = {"user": target.owner, "copr": target.name, "builds_map": builds, "storage": 0}
    action = _add(
        session,
        target,
        ActionType.FORK,
        object_type="copr",
        old_value=source,
        new_value=target.full_name,
        data={**data, "devel": devel},
    )
    session.flush()
    return action


def fork(
    session: Session, source: Project, target: Project, builds: Mapping[str, Mapping[str, str]]
) -> None:
    """Have the results of builds copied; `builds`: chroot → old result directory → new one."""
    _add(
        session,
        target,
        ActionType.FORK,
        object_type="copr",
        old_value=source.full_name,
        new_value=target.full_name,
        data={"user": target.owner, "copr": target.name, "builds_map": builds, "storage": 0},
    )


def comps(session: Session, project: Project, chroot: str, *, present: bool) -> None:
    """Have the group file of a chroot fetched from here, or taken away."""
    path = f"/coprs/{project.owner}/{project.name}/chroot/{chroot}/comps/"
    data = {
        "ownername": project.owner,
        "projectname": project.name,
        "chroot": chroot,
        "comps_present": present,
        "url_path": path,
    }
    _add(session, project, ActionType.UPDATE_COMPS, object_type="copr_chroot", data=data)


def delete_builds(session: Session, builds: Sequence[Build]) -> list[int]:
    """Note in the transaction that deletes them what is to be removed from disk; `done` forgets
    it. A frontend that is killed before leaves that to the backend, as does one that fails."""
    by_project: dict[int, list[Build]] = {}
    for build in builds:
        by_project.setdefault(build.project.id, []).append(build)
    noted = []
    for some in by_project.values():
        places: dict[str, dict[str, list[str]]] = {}
        for build in some:
            chroots = places.setdefault(build.dirname, {})
            if build.result_dir:
                chroots.setdefault(SRPM_CHROOT, []).append(build.result_dir)
            for chroot in build.chroots:
                if chroot.result_dir:
                    chroots.setdefault(chroot.name, []).append(chroot.result_dir)
        if any(places.values()):
            noted.append(_delete(session, some, places))
    session.flush()
    return [action.id for action in noted]


def _delete(
    session: Session, builds: Sequence[Build], places: dict[str, dict[str, list[str]]]
) -> Action:
    project = builds[0].project
    action = Action(
        action_type=int(ActionType.DELETE),
        object_type="builds",
        project_id=project.id,
        owner=project.owner,
        created_on=now(),
        result=int(ActionResult.WAITING),
        data={
            "ownername": project.owner,
            "projectname": project.name,
            "project_dirnames": places,
            "build_ids": [build.id for build in builds],
            "appstream": settings.of(project, "appstream"),
            "devel": settings.of(project, "devel_mode"),
            "storage": 0,
        },
    )
    session.add(action)
    return action


def delete_project(session: Session, project: Project) -> int:
    """The same for a project: its directory, and those beside it that have builds."""
    query = select(Build.dirname).where(Build.project_id == project.id).distinct()
    data = {
        "ownername": project.owner,
        "projectname": project.name,
        "project_dirnames": sorted({project.name, *session.scalars(query)}),
        "storage": 0,
    }
    action = Action(
        action_type=int(ActionType.DELETE),
        object_type="copr",
        project_id=project.id,
        owner=project.owner,
        created_on=now(),
        result=int(ActionResult.WAITING),
        data=data,
    )
    session.add(action)
    session.flush()
    return action.id


def check_gone(session: Session, owner: str, name: str) -> None:
    """Refuse a new project whose directory the deletion of an older one may still remove."""
    query = select(Action.data).where(
        Action.result == int(ActionResult.WAITING),
        Action.action_type == int(ActionType.DELETE),
        Action.object_type == "copr",
        Action.owner == owner,
    )
    if any(data.get("projectname") == name for data in session.scalars(query)):
        raise ApiError(
            409, f"The old project {owner}/{name} is still being deleted: try again in a moment"
        )


def done(session: Session, ids: Sequence[int]) -> None:
    """These need not be carried out any more."""
    session.execute(
        update(Action)
        .where(Action.id.in_(ids), Action.result == int(ActionResult.WAITING))
        .values(result=int(ActionResult.SUCCESS), ended_on=now())
    )


def forget(session: Session, project: Project) -> bool:
    """Nothing more is to be done for a project that is deleted. True when results were to be
    copied into it: that may be in hand at this moment."""
    own = (Action.project_id == project.id, Action.result == int(ActionResult.WAITING))
    copying = select(Action.id).where(*own, Action.action_type == int(ActionType.FORK))
    in_hand = session.scalar(copying.limit(1)) is not None
    session.execute(
        update(Action)
        .where(*own)
        .values(result=int(ActionResult.FAILURE), message="the project was deleted", ended_on=now())
    )
    return in_hand


def end(session: Session, reported: Mapping[int, Mapping[str, Any]]) -> set[int]:
    """Take over what the backend reports; returns the ids of those that exist."""
    found = session.scalars(select(Action).where(Action.id.in_(list(reported)))).all()
    for action in found:
        report = reported[action.id]
        message, result = report.get("message"), report.get("result")
        if isinstance(message, str) and message:
            action.message = message[:1000]
        if result in (ActionResult.SUCCESS, ActionResult.FAILURE):
            action.result = int(result)
            action.ended_on = now()
    session.flush()
    return {action.id for action in found}
