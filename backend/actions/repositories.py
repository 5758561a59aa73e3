"""Actions on the repository of a chroot: metadata, group file, key."""

import os
from collections.abc import Collection
from urllib.parse import urlsplit

from backend import layout
from backend.action import Action
from backend.actions.yard import Yard, disk
from backend.disk import FILE_MODE, make_directory, sync
from backend.exceptions import ActionError, BuildError, InfrastructureError
from backend.repo.compare import Choose
from backend.repository import publish
from backend.sources import download

#: Largest group file that is fetched, in bytes.
MAX_COMPS = 64 * 1024**2


def createrepo(action: Action, yard: Yard) -> None:
    """Make the repository of each directory and chroot, or bring it up to date.

    One that cannot be made does not keep the others from being made. Our own frontend names
    `builds` (chroot → result directories) when only those are to be released beside what is.
    """
    chosen = action.directories("builds") if action.get("builds") is not None else None
    owner, devel = action.name("ownername"), action.flag("devel")
    chroots = action.names("chroots")
    if action.flag("appstream"):
        yard.say(f"{action.label}: appstream metadata is not made by this backend")
    trouble = []
    for dirname in action.names("project_dirnames"):
        for chroot in chroots:
            repo = yard.path(owner, dirname, chroot)
            try:
                publish(
                    repo,
                    choose=_with(chosen.get(chroot, ())) if chosen is not None else None,
                    devel_url=yard.devel_url(devel, owner, dirname, chroot),
                    policy=yard.policy(repo),
                )
            except InfrastructureError as error:
                trouble.append(str(error))
    if trouble:
        raise InfrastructureError("; ".join(trouble))


def _with(results: Collection[str]) -> Choose:
    """What is listed now, and these."""
    return lambda now: now | set(results)


def gen_gpg_key(action: Action, yard: Yard) -> None:
    """Have a key for the project, and its public part in the project's directory; nothing to do
    while signing is off, as in today's backend."""
    owner, name = action.name("ownername"), action.name("projectname")
    signer = yard.signer(owner, name)
    if signer is None:
        yard.say(f"{action.label}: signing is off, no key is made for {owner}/{name}")
        return
    yard.path(owner, name)
    signer.prepare()


def update_comps(action: Action, yard: Yard) -> None:
    """Put the group file that the frontend has beside the repository, or take it away.

    The next publish reads it.
    """
    repo = yard.path(action.name("ownername"), action.name("projectname"), action.name("chroot"))
    comps = repo / layout.COMPS
    if not action.flag("comps_present"):
        with disk(comps):
            comps.unlink(missing_ok=True)
        return
    where = action.get("url_path")
    parts = urlsplit(where) if isinstance(where, str) else None
    if parts is None or parts.netloc or parts.scheme or not parts.path.startswith("/"):
        raise ActionError(f"{action.label}: 'url_path' is {str(where)[:80]!r}, no path")
    temporary = repo / f".{layout.COMPS}.{os.getpid()}"
    with disk(comps):
        make_directory(repo)
        try:
            download(yard.frontend_url + str(where), temporary, MAX_COMPS)
            temporary.chmod(FILE_MODE)
            sync(temporary)
            temporary.replace(comps)
        except BuildError as error:  # 4xx, or too large
            raise ActionError(f"{action.label}: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)
