"""What frontends want done beside builds: one function per action, each safe to repeat.

An action may be killed at any moment and is then run again from its start; so each step either
has no effect yet, or is found done. What readers see changes at one instant (`repository`).
"""

from collections.abc import Callable, Mapping

from backend.action import Action
from backend.actions import copies, deletions, repositories
from backend.actions.yard import Yard
from backend.constants import ActionType as Type
from backend.exceptions import ActionError

__all__ = ["Yard", "perform"]

_DELETIONS: Mapping[str, Callable[[Action, Yard], None]] = {
    "copr": deletions.project,
    "build": deletions.build,
    "builds": deletions.builds,
    "chroot": deletions.chroot,
}
_ACTIONS: Mapping[Type, Callable[[Action, Yard], None]] = {
    Type.CREATEREPO: repositories.createrepo,
    Type.UPDATE_COMPS: repositories.update_comps,
    Type.GEN_GPG_KEY: repositories.gen_gpg_key,
    Type.FORK: copies.fork,
    Type.RAWHIDE_TO_RELEASE: copies.rawhide_to_release,
    Type.REMOVE_DIRS: deletions.remove_dirs,
}


def perform(action: Action, yard: Yard) -> None:
    """Do it, or do what is left of it.

    Raises ActionError or ProtocolError when it can never be done, FrontendError or
    InfrastructureError when it is worth another try.
    """
    if action.type is Type.DELETE:
        handler = _DELETIONS.get(action.object_type)
    else:
        handler = _ACTIONS.get(action.type)
    if handler is None:
        raise ActionError(f"{action.label}: this backend knows no such action")
    if isinstance(action.data, Mapping) and action.get("storage") not in (None, 0):
        raise ActionError(f"{action.label}: the project is stored in Pulp, which is not supported")
    handler(action, yard)
