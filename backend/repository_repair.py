"""Repairs of a repository, by hand: back to an earlier state, everything anew, what is wrong.

One who publishes is waited for, and nobody publishes meanwhile, as in `backend.repository`.
"""

from pathlib import Path

from backend.exceptions import CoprBackendError
from backend.layout import DEVEL
from backend.repo import check, compare, rollback, states, transaction
from backend.repo.compare import Choose, Order
from backend.repo.rollback import Done
from backend.repository import Manners, Policy, alone, is_published, order_of, queue, tell


def roll_back(
    repo: Path,
    state: int | None = None,
    *,
    devel: bool = False,
    manners: Manners,
    policy: Policy,
) -> Done:
    """Go back to a state that was published before (None: the one before), in one step.

    Builds that it does not list are withheld until another rollback gives them back. With `devel`
    it is about the metadata of a project that publishes by hand which list everything; released
    builds stay in them. Raises CoprBackendError when there is no such state.
    """
    orders = _places(repo, manners, policy)
    if devel and len(orders) == 1:
        raise CoprBackendError(f"{repo} has no {DEVEL}/ metadata: its project publishes at once")
    order = orders[devel]
    with alone(order, manners):
        return rollback.roll_back(order, state, queue(repo))


def rebuild(repo: Path, *, manners: Manners, policy: Policy) -> None:
    """Make all metadata of `repo` anew from the packages on disk, believing nothing else."""
    for order in _places(repo, manners, policy):
        with alone(order, manners):
            subset = order.place == repo and is_published(repo / DEVEL)
            known = compare.listed(order.place) if subset else frozenset()
            chosen: Choose | None = (lambda _now, names=known: names) if subset else None
            whole = order_of(repo, order.baseurl, manners, policy, choose=chosen, fresh=True)
            tell(manners, transaction.run(whole, queue(repo)))


def problems(repo: Path, *, manners: Manners) -> list[str]:
    """What is wrong with the metadata of `repo`, one line each; reads every package."""
    found = []
    for order in _places(repo, manners, Policy()):
        with alone(order, manners):
            subset = order.place == repo and is_published(repo / DEVEL)
            found += check.problems(order, subset=subset)
    return found


def _places(repo: Path, manners: Manners, policy: Policy) -> list[Order]:
    """The main metadata and, of a project that publishes by hand, the other."""
    orders = [order_of(repo, "", manners, policy)]
    state = states.live(repo / DEVEL)
    made = state.manifest() if state else None
    if made and made.head.baseurl:
        orders.append(order_of(repo, made.head.baseurl, manners, policy))
    return orders
