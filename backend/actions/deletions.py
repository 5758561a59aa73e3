"""Actions that remove: projects, builds, chroots, side directories.

Packages leave the metadata before they leave the disk.
"""

from collections.abc import Mapping, Sequence

from backend.action import Action
from backend.actions.yard import Yard, remove
from backend.constants import SRPM_CHROOT
from backend.exceptions import ActionError
from backend.repository import withdraw
from backend.taskfields import component


def project(action: Action, yard: Yard) -> None:
    """Remove the project's directories."""
    owner = action.name("ownername")
    for path in [yard.path(owner, dirname) for dirname in action.names("project_dirnames")]:
        remove(path)


def chroot(action: Action, yard: Yard) -> None:
    """Remove one chroot of a project."""
    names = (action.name(field) for field in ("ownername", "projectname", "chrootname"))
    remove(yard.path(*names))


def build(action: Action, yard: Yard) -> None:
    """Remove one build from all chroots of its directory."""
    _builds(action, yard, action.name("project_dirname"), action.directories("chroot_builddirs"))


def builds(action: Action, yard: Yard) -> None:
    """Remove several builds, from several directories of a project."""
    found = {}
    for dirname, chroots in action.mapping("project_dirnames").items():
        if not isinstance(chroots, Mapping):
            raise ActionError(f"{action.label}: 'project_dirnames' holds no objects")
        part = Action(id=action.id, type=action.type, object_type="builds", data={"it": chroots})
        found[dirname] = part.directories("it")
    for dirname, chroots in found.items():
        _builds(action, yard, dirname, chroots)


def _builds(action: Action, yard: Yard, dirname: str, chroots: Mapping[str, Sequence[str]]) -> None:
    owner, devel = action.name("ownername"), action.flag("devel")
    for name, results in chroots.items():
        repo = yard.path(owner, dirname, name)
        paths = [yard.result(repo, result) for result in results]
        if not repo.is_dir():
            continue
        if name != SRPM_CHROOT:
            url = yard.devel_url(devel, owner, dirname, name)
            withdraw(repo, results, devel_url=url, policy=yard.policy(repo))
        for path in paths:
            remove(path)


def remove_dirs(action: Action, yard: Yard) -> None:
    """Remove side directories of pull requests, `owner/project:pr:7`."""
    if not isinstance(action.data, list):
        raise ActionError(f"{action.label}: 'data' is no list")
    paths = []
    for entry in action.data:
        owner, _, dirname = str(entry).partition("/")
        if ":pr:" not in dirname:
            raise ActionError(
                f"{action.label}: {str(entry)[:80]!r} is no directory of a pull request"
            )
        paths.append(yard.path(component(owner, "owner"), component(dirname, "directory")))
    for path in paths:
        remove(path)
