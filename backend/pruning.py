"""Which results go, and why: a pure function of what lies on the disk and what is known of it.

A result directory goes as a whole, or its packages go and the logs stay for a while. What is
being built, or wanted by an action that waits, is never touched.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from backend.constants import SRPM_CHROOT

#: `00000042-hello` of an RPM build, `00000042` of a source build. Nothing else is ours.
_NAME = re.compile(r"(\d{8,18})(?:-(.+))?")
_DAY = 86400.0

#: What of a directory goes.
ALL, PACKAGES, LOGS = "all", "packages", "logs"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A result directory. `good`: marked as a success; `since`: when its newest file was
    written (seconds since the epoch); `packages` and `logs`: bytes that would be free without
    either kind of files; `begun`: an earlier prune was going to remove so much of it, and was
    ended; `busy`: somebody works in it; `released`: of a project that publishes by hand, and in
    its main metadata."""

    owner: str
    dirname: str
    chroot: str
    name: str
    good: bool
    since: float
    packages: int = 0
    logs: int = 0
    begun: str = ""
    busy: bool = False
    released: bool = False

    @property
    def build(self) -> int | None:
        """The number of its build; None if the name is not one of ours."""
        match = _NAME.fullmatch(self.name)
        return int(match.group(1)) if match else None

    @property
    def package(self) -> str:
        """The package, of an RPM build."""
        match = _NAME.fullmatch(self.name)
        return (match.group(2) or "") if match else ""

    @property
    def task(self) -> str:
        """The id of its task."""
        number = self.build or 0
        return f"{number}" if self.chroot == SRPM_CHROOT else f"{number}-{self.chroot}"

    @property
    def place(self) -> str:
        """`owner/dirname/chroot/name`."""
        return f"{self.owner}/{self.dirname}/{self.chroot}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """`keep` succeeded builds of each package stay in each chroot (0: all); what failed, and
    source builds, for `days` (0: for ever); logs for `log_days` whether the packages are there
    or not (0: as long as those); a chroot that ended, for `eol_days` more."""

    keep: int
    days: int
    log_days: int = 0
    eol: Mapping[str, date] = field(default_factory=dict)
    eol_days: int = 0


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the frontend says of one project directory. `keep`: its own number; `auto`: it may
    be pruned; `still`: chroots that are not to be touched, with the reason; `claimed`: places
    that the frontend has given up already."""

    keep: int | None = None
    auto: bool = True
    devel: bool = False
    still: Mapping[str, str] = field(default_factory=dict)
    claimed: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Step:
    """`what` of a directory goes, for this reason."""

    found: Found
    what: str
    reason: str

    @property
    def bytes(self) -> int:
        """What is free afterwards, at least."""
        found = self.found
        return {ALL: found.packages + found.logs, PACKAGES: found.packages, LOGS: found.logs}[
            self.what
        ]


def ended_chroots(rules: Rules, chroots: Iterable[str], now: float) -> dict[str, str]:
    """The chroots whose time is over, each with the reason. `rules.eol` names a chroot or a
    release, e.g. fedora-39."""
    found, today = {}, datetime.fromtimestamp(now, UTC).date()
    for chroot in chroots:
        ended = rules.eol.get(chroot) or rules.eol.get(chroot.rpartition("-")[0])
        if ended and today >= ended + timedelta(days=rules.eol_days):
            late = f" and {rules.eol_days} days more are over" if rules.eol_days else ""
            found[chroot] = f"{chroot} reached its end of life on {ended}{late}"
    return found


def plan(
    found: Iterable[Found],
    known: Known,
    rules: Rules,
    *,
    unfinished: frozenset[str] = frozenset(),
    wanted: frozenset[str] = frozenset(),
    now: float,
) -> list[Step]:
    """What to remove of one project directory.

    `unfinished`: task ids; nothing of their builds goes. `wanted`: places that somebody is going
    to read. The newest success of a package is kept whatever the rules say, except at the end of
    its chroot.
    """
    builds = {task.partition("-")[0] for task in unfinished}
    mine = [_known(one, known) for one in found if one.build is not None]
    free = [
        one
        for one in mine
        if not one.busy and one.place not in wanted and str(one.build) not in builds
    ]
    steps = [_begun(one, rules, now) for one in free if one.begun]
    if not known.auto:
        return steps
    ended = ended_chroots(rules, {one.chroot for one in mine}, now)
    rest = [one for one in free if not one.begun and one.chroot not in known.still]
    old = {one.place: reason for one, reason in _superseded(mine, known, rules)}
    for one in rest:
        step = _judge(one, old.get(one.place, ""), ended, rules, now)
        if step:
            steps.append(step)
    return steps


def _known(one: Found, known: Known) -> Found:
    """A directory that the frontend has given up was going to be removed."""
    late = not one.begun and one.place in known.claimed and (one.good or one.packages)
    return replace(one, begun=PACKAGES) if late else one


def _begun(one: Found, rules: Rules, now: float) -> Step:
    what = PACKAGES if one.begun == PACKAGES and _logs_stay(one, rules, now) else ALL
    return Step(found=one, what=what, reason="an earlier prune of it was interrupted")


def _superseded(found: Sequence[Found], known: Known, rules: Rules) -> Iterable[tuple[Found, str]]:
    """Successes that have enough newer ones of the same package and chroot."""
    keep = rules.keep if known.keep is None else known.keep
    if not keep:
        return
    groups: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for one in found:
        if one.good and not one.begun and one.chroot != SRPM_CHROOT:
            groups[one.chroot, one.package].append(one)
    for (chroot, package), members in groups.items():
        members.sort(key=lambda one: one.build or 0, reverse=True)
        # Newer ones that wait for their release do not take the place of what readers have.
        readable = [one.place for one in members if one.released][:keep]
        for one in members[keep:]:
            if one.place in readable:
                continue
            yield (
                one,
                f"{keep} newer build{'s' if keep > 1 else ''} of {package} succeeded in {chroot}"
                f" (keep = {keep})",
            )


def _judge(one: Found, old: str, ended: Mapping[str, str], rules: Rules, now: float) -> Step | None:
    if one.chroot in ended:
        return Step(found=one, what=ALL, reason=ended[one.chroot])
    age = (now - one.since) / _DAY
    if old:
        return _packages_go(one, old, rules, now)
    if one.good and one.chroot != SRPM_CHROOT:
        if rules.log_days and age >= rules.log_days and one.logs:
            why = f"logs {age:.0f} days old (log_days = {rules.log_days})"
            return Step(found=one, what=LOGS, reason=why)
        return None
    if not rules.days or age < rules.days:
        return None
    kind = "source build" if one.chroot == SRPM_CHROOT else "no success"
    return _packages_go(one, f"{kind}, {age:.0f} days old (prune_days = {rules.days})", rules, now)


def _packages_go(one: Found, why: str, rules: Rules, now: float) -> Step | None:
    """The packages go; the logs too, unless they have a term of their own that runs."""
    if not _logs_stay(one, rules, now):
        return Step(found=one, what=ALL, reason=why)
    if not one.packages:
        return None
    return Step(found=one, what=PACKAGES, reason=f"{why}; its logs stay")


def _logs_stay(one: Found, rules: Rules, now: float) -> bool:
    return bool(rules.log_days and one.logs and now - one.since < rules.log_days * _DAY)
