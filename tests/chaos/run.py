"""One chaos run from start to verdict."""

import contextlib
import re
import select
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import redis

from tests.chaos.arena import MODES, Arena, arena
from tests.chaos.killer import Killer
from tests.chaos.load import Users, make_srpms
from tests.chaos.reader import Reader
from tests.chaos.verify import Verifier, history

#: After the killer's mercy: longest time without any progress before tasks count as lost.
PATIENCE = 90.0


@dataclass
class Outcome:
    """What a run found."""

    seed: int
    mode: str
    violations: list[str] = field(default_factory=list)
    timeline: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    text: str = ""

    @property
    def passed(self) -> bool:
        return not self.violations


def _until(fact: Callable[[], bool], seconds: float) -> bool:
    """True as soon as the fact holds, False after `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError, ValueError, AssertionError, redis.RedisError):
            if fact():
                return True
        select.select([], [], [], 0.1)
    return False


def run(
    *, builds: int, seed: int, mode: str | None = None, fury: float = 1.0, keep: bool = False,
    live: bool = False, seconds: float = 36000.0, brief: bool = False,
    sign: bool = False,
) -> Outcome:  # fmt: skip
    """Build `builds` packages under the killer, and say what is wrong afterwards.

    `seconds` ends the killer early; `brief` spares what takes minutes; with `sign` the farm signs.
    """
    mode = mode or MODES[seed % len(MODES)]
    outcome = Outcome(seed, mode)
    begin = time.monotonic()
    print(f"chaos: seed {seed}, {builds} builds, {mode}", flush=True)
    notes: list[str] = []
    with arena(seed, mode, notes.append, keep) as place:
        srpms = make_srpms(place.top / "srpms")
        place.sign = sign
        place.start()
        users = Users(place, builds, srpms)
        if not _until(users.prepare, 200):
            outcome.violations.append("the farm did not start")
            return _tell(outcome, place, begin)
        killer = Killer(place, fury, outcome.kills, _Live() if live else [], brief)
        outcome.timeline = killer.timeline
        place.log = killer.note
        users.start()
        reader = Reader(place.destdir)
        reader.start()
        killer.run(users.done.is_set, seconds)
        verifier = Verifier(place, users)
        _settle(verifier, users)
        _judge(verifier, place)
        reader.end(verifier)
        outcome.violations, outcome.states = verifier.violations, verifier.states
        return _tell(outcome, place, begin)


class _Live(list[str]):
    def append(self, text: str) -> None:
        print(text, flush=True)
        super().append(text)


def _settle(verifier: Verifier, users: Users) -> None:
    """Wait until nothing is left to do, as long as the farm gets anywhere."""
    users.done.wait(200)
    seen: list[list[str]] = []

    def nothing_left() -> bool:
        seen.append(sorted(verifier.unfinished()))
        return not seen[-1]

    before: list[str] = []
    while not _until(nothing_left, PATIENCE):
        if not seen or seen[-1] == before:
            what = seen[-1] if seen else "the frontend does not answer"
            verifier.bad(f"lost or stuck, nothing happened for {PATIENCE:g} s: {what}")
            return
        before = seen[-1]
        seen.clear()


def _judge(verifier: Verifier, place: Arena) -> None:
    with contextlib.suppress(OSError):
        if not _until(lambda: place.redis.llen("copr-be:outbox") == 0, 30):
            verifier.bad("the outbox is not empty")
    try:
        verifier.check_states()
        verifier.check_reports()
    except OSError as error:
        verifier.bad(f"the API does not answer: {error}")
    # One that was started a moment ago does not hear SIGTERM yet, nor knows what lies there.
    if not _until(lambda: any("serving" in p.title for p in place.procs("master")), 60):
        verifier.bad("the daemon is not ready")
    code = place.stop_daemon()
    if code != 0:
        verifier.bad(f"the daemon ended with {code} on SIGTERM")
    keys = place.keys()  # of an external Redis while it runs
    place.stop_rest()  # what the test started itself is no orphan
    verifier.check_keys(keys)
    verifier.check_repositories()
    verifier.check_leftovers()


def _tell(outcome: Outcome, place: Arena, begin: float) -> Outcome:
    lines = _diagnosis(outcome, place) if outcome.violations else []
    kills = ", ".join(f"{kind} {count}" for kind, count in outcome.kills.most_common())
    states = ", ".join(f"{state} {count}" for state, count in sorted(outcome.states.items()))
    lines.append(f"ended and started again: {dict(Counter(place.exits))}")
    if broken := place.proxy.broken:
        lines.append(f"requests broken: {broken}; died over reports: {len(place.proxy.unsure)}")
    lines += [f"killer: {kills}", f"builds: {states}"]
    verdict = "ok" if outcome.passed else f"{len(outcome.violations)} violations"
    strikes, took = sum(outcome.kills.values()), time.monotonic() - begin
    name = f"chaos: seed {outcome.seed} {outcome.mode}"
    lines.append(f"{name}: {verdict}, {strikes} strikes, {took:.0f} s ({place.top})")
    outcome.text = "\n".join(lines)
    print(outcome.text, flush=True)
    return outcome


def _diagnosis(outcome: Outcome, place: Arena) -> list[str]:
    """What the killer did, what is wrong, and all that the logs know of those builds."""
    lines = [f"--- timeline of seed {outcome.seed}", *outcome.timeline]
    builds = set()
    for violation in outcome.violations:
        lines.append(f"VIOLATION: {violation}")
        for pair in re.findall(r"(?:build|task|cancel of) (\d+)|/0*(\d+)-", violation):
            builds |= {int(number) for number in pair if number}
    for build in sorted(builds)[:10]:
        lines += [f"--- history of build {build}", *history(place, build)[-60:]]
    return lines
