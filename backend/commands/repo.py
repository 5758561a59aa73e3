"""`copr_be.py repo`: the states of a published repository, what is wrong with it, the way back."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from backend import layout, repository, repository_repair
from backend.commands.text import count, plain
from backend.config import Config
from backend.constants import Exit
from backend.exceptions import CoprBackendError, InfrastructureError, ProtocolError
from backend.identity import Identity
from backend.layout import DEVEL
from backend.repo import states
from backend.repository import Manners


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be done (states, check, rebuild or rollback), to which metadata."""

    what: str
    state: int | None = None
    devel: bool = False
    as_json: bool = False


def run(config: Config, project: str, chroot: str, order: Order) -> int:
    """Do it with the repository of one project and chroot.

    0 if all is well; 1 if `check` finds something. Raises CoprBackendError with the remedy.
    """
    if order.state is not None and order.what != "rollback":
        raise CoprBackendError(f"repo {order.what} takes no STATE: only rollback does")
    if order.devel and order.what not in ("states", "rollback"):
        raise CoprBackendError(f"repo {order.what} is about all metadata: leave --devel out")
    repo = _find(config, project, chroot)
    identity = Identity.of(config)
    if identity:
        identity.assume()  # what it writes belongs to the daemon
    try:
        if order.what == "states":
            return _states(repo / DEVEL if order.devel else repo, as_json=order.as_json)
        if order.what == "check":
            return _check(repo, as_json=order.as_json)
        return _change(config, repo, order)
    except InfrastructureError as error:
        raise CoprBackendError(f"{error}: nothing has changed for readers; try again") from error


def _find(config: Config, project: str, chroot: str) -> Path:
    """The directory of the repository."""
    if project.count("/") != 1:
        raise CoprBackendError(f"{project}: write OWNER/PROJECT")
    try:
        repo = layout.local_path(config.destdir, f"{project}/{chroot}")
    except ProtocolError as error:
        raise CoprBackendError(f"{project} {chroot}: {error}") from error
    if not repository.is_published(repo):
        raise CoprBackendError(f"{repo} is no published repository: see `ls {config.destdir}`")
    return repo


def _states(repo: Path, *, as_json: bool) -> int:
    now = states.live(repo)
    rows = []
    for one in states.known(repo):
        made = one.manifest()
        rows.append(
            {
                "state": one.number,
                "made": int(one.made),
                "builds": None if made is None else len(made.names()),
                "live": bool(now and one.number == now.number),
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return Exit.OK
    for row in rows:
        builds = "builds unknown" if row["builds"] is None else count(int(row["builds"]), "build")
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(row["made"] or 0)))
        print(f"{row['state']:>6}  {when}  {builds}{', live' if row['live'] else ''}")
    if not rows:
        print("no states yet: the next publish makes the first")
    return Exit.OK


def _check(repo: Path, *, as_json: bool) -> int:
    found = repository_repair.problems(repo, manners=_manners("repo check"))
    if as_json:
        print(json.dumps({"repository": str(repo), "problems": found}, indent=2))
    else:
        for line in found:
            print(plain(line))
        print(f"{repo}: {count(len(found), 'problem')}" if found else f"{repo}: all is well")
    return Exit.FAILED if found else Exit.OK


def _change(config: Config, repo: Path, order: Order) -> int:
    policy, manners = repository.policy(config, repo), _manners(f"repo {order.what}")
    if order.what == "rebuild":
        repository_repair.rebuild(repo, manners=manners, policy=policy)
        print(f"{repo}: made anew")
        return Exit.OK
    done = repository_repair.roll_back(
        repo, order.state, devel=order.devel, manners=manners, policy=policy
    )
    print(f"{repo}: back again, as state {done.state}, with {count(done.builds, 'build')}")
    if done.gone:
        print(f"not there any more, hence left out: {', '.join(done.gone)}")
    return Exit.OK


def _manners(who: str) -> Manners:
    return Manners(who=f"copr_be.py {who}", say=lambda text: print(plain(text), flush=True))
