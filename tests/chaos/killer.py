"""The killer: what it does, and when, is drawn from the seed; what it did is in `timeline`."""

import contextlib
import os
import random
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import redis

from tests.chaos.arena import Arena
from tests.chaos.moments import Watch
from tests.chaos.procs import Proc
from tests.chaos.proxy import FAULTS, Rule

KILL, STOP, CONT = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT
MIB = 1024**2
#: So many strikes at least make a chaos run.
LEAST = 3
#: Names on disk and the moment in a build's life that they mark.
FILES = {
    "builder-live.log": "a build begins",
    "results.json": "results are written",
    "success": "marked as succeeded",
    ".publish-": "createrepo_c runs",
    "repomd.xml": "published a moment ago",
    "builder-live.log.gz": "logs are compressed",
    ".tmp": "a temporary file is there",
}
#: Requests and the moment that they mark.
REQUESTS = ("starting_build", "update", "pending-jobs", "get-build-task", "canceled")


@dataclass
class Killer:
    """Runs in the calling thread (`run`); `fury` scales how often it strikes."""

    arena: Arena
    fury: float = 1.0
    counts: Counter[str] = field(default_factory=Counter)
    timeline: list[str] = field(default_factory=list)
    #: Without what costs minutes: requests that hang, processes stopped for long.
    brief: bool = False

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.arena.seed}-killer")
        self._start = time.monotonic()
        self._stopped: list[tuple[float, Proc]] = []
        self.enough = threading.Event()

    def note(self, text: str) -> None:
        """Add a line to the timeline."""
        self.timeline.append(
            f"{time.strftime('%H:%M:%S')} +{time.monotonic() - self._start:6.2f} {text}"
        )

    # --- the loop -------------------------------------------------------------------------

    def deeds(self) -> dict[Callable[[], None], int]:
        """What it can do here, and how often."""
        ours: dict[Callable[[], None], int] = {
            self.kill_worker: 22, self.kill_helper: 10, self.kill_master: 4, self.kill_redis: 7,
            self.kill_two: 6, self.kill_everything: 2, self.stop_briefly: 8, self.stop_long: 2,
            self.edit: 5, self.newborn: 3, self.end_and_kill: 2, self.kill_createrepo: 3,
            self.moment_on_disk: 16, self.empty_redis: 2, self.kill_group: 5,
        }  # fmt: skip
        if self.arena.mounted:
            ours |= {self.fill_disk: 3, self.use_up_files: 2}
        if self.brief:
            del ours[self.stop_long]
        if self.arena.mode == "external":
            ours[self.redis_forgets] = 3
        if not self.arena.embedded:
            ours |= {self.break_frontend: 12, self.moment_at_frontend: 12}
        return ours

    def run(self, finished: Callable[[], bool], seconds: float) -> None:
        """Strike until `finished()` or the time is over, and LEAST times on a machine of any
        speed; then let everything live again."""
        deeds = self.deeds()
        until = time.monotonic() + seconds
        while self.counts.total() < LEAST or (not finished() and time.monotonic() < until):
            pause = self.random.expovariate(self.fury / 0.7)
            self.enough.wait(min(pause, 5.0))
            self._wake_stopped(time.monotonic())
            (deed,) = self.random.choices(list(deeds), list(deeds.values()))
            deed()
        self.mercy()

    def mercy(self) -> None:
        """No more faults; what was stopped goes on."""
        self.arena.proxy.rules = []
        self.arena.proxy.hook = lambda *_: None
        self._wake_stopped(float("inf"))
        self.arena.configure(3)
        self._hup()
        self.note("mercy: no more faults")

    def _wake_stopped(self, now: float) -> None:
        for entry in [entry for entry in self._stopped if entry[0] <= now]:
            self._stopped.remove(entry)
            alive = entry[1].signal(CONT)
            self.note(f"CONT {entry[1].title or '?'} {entry[1].pid}{'' if alive else ' (gone)'}")

    def hit(self, procs: list[Proc], kind: str, number: signal.Signals = KILL) -> bool:
        """Signal all of them at once, and count."""
        hit = [proc for proc in procs if proc.signal(number)]
        if hit:
            self.counts[kind] += 1
            names = ", ".join(
                f"{proc.title.removeprefix('copr-be: ')[:60]} {proc.pid}" for proc in hit
            )
            self.note(f"{kind}: {names}")
        return bool(hit)

    def pick(self, role: str) -> list[Proc]:
        """At most one process in the role; a worker that is at work, if there is one."""
        found = self.arena.procs(role)
        busy = [proc for proc in found if not proc.title.endswith((" idle", " starting"))]
        return [self.random.choice(busy or found)] if found else []

    # --- kills ----------------------------------------------------------------------------

    def kill_worker(self) -> None:
        self.hit(self.pick("worker"), "kill worker")

    def kill_helper(self) -> None:
        role = self.random.choice(("jobgrab", "log", "web"))
        self.hit(self.pick(role), f"kill {role}")

    def kill_master(self) -> None:
        self.hit(self.pick("master"), "kill master")

    def kill_redis(self) -> None:
        self.hit(self.pick("redis"), "kill redis")

    def redis_forgets(self) -> None:
        """Redis is killed, and its file lacks what came last: `appendfsync everysec`."""
        with self.arena.redis_held() as aof:
            before = aof.stat().st_size if aof else 0
            self.enough.wait(self.random.uniform(0, 1))
            if self.hit(self.arena.procs("redis"), "kill redis, forgets a second") and aof:
                with contextlib.suppress(OSError):
                    os.truncate(aof, before)

    def empty_redis(self) -> None:
        """Everything in it is forgotten, and it goes on."""
        with contextlib.suppress(redis.RedisError):
            self.arena.redis.flushall()
            self.counts["FLUSHALL"] += 1
            self.note("FLUSHALL")

    def kill_group(self) -> None:
        """A process group, as a shell or a service manager would."""
        found = self.arena.procs()
        if found:
            with contextlib.suppress(ProcessLookupError):
                group = os.getpgid(self.random.choice(found).pid)
                members = [proc for proc in found if _group(proc.pid) == group]
                self.hit(members, "kill process group")

    def kill_createrepo(self) -> None:
        self.hit(self.pick("createrepo_c"), "kill createrepo_c")

    def kill_two(self) -> None:
        roles = self.random.sample(("worker", "jobgrab", "log", "web", "master", "redis"), 2)
        victims = [proc for role in roles for proc in self.pick(role)]
        self.hit(victims, f"kill {'+'.join(sorted(roles))}")

    def kill_everything(self) -> None:
        self.hit(self.arena.procs(), "kill everything")

    def newborn(self) -> None:
        """A worker dies, and so do those that are born in the next half second."""
        before = {proc.pid for proc in self.arena.procs()}
        self.kill_worker()
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            new = [proc for proc in self.arena.procs() if proc.pid not in before]
            # A fork that has no title yet still has its parent's.
            if self.hit([p for p in new if p.title.startswith("copr-be: ")], "kill newborn"):
                return

    def end_and_kill(self) -> None:
        """SIGTERM to the master, and SIGKILL while it terminates."""
        if self.hit(self.pick("master"), "TERM master", signal.SIGTERM):
            self.enough.wait(self.random.uniform(0, 0.4))
            self.hit(self.pick("master"), "kill master in terminate")

    # --- stops ----------------------------------------------------------------------------

    def _stop(self, role: str, seconds: float, kind: str) -> None:
        for proc in self.pick(role):
            if self.hit([proc], f"{kind} {role}", STOP):
                self._stopped.append((time.monotonic() + seconds, proc))

    def stop_briefly(self) -> None:
        role = self.random.choice(("worker", "worker", "jobgrab", "log", "web", "master", "redis"))
        self._stop(role, self.random.uniform(0.05, 3), "stop")

    def stop_long(self) -> None:
        role = self.random.choice(("worker", "worker", "jobgrab", "redis", "web"))
        self._stop(role, self.random.uniform(8, 40), "stop long")

    # --- configuration, disk --------------------------------------------------------------

    def _hup(self) -> None:
        for master in self.arena.procs("master"):
            master.signal(signal.SIGHUP)

    def edit(self) -> None:
        """New max_workers, or a broken edit, and SIGHUP; or drain and resume."""
        if self.random.random() < 0.3 and self._drain():
            return
        broken = self.random.random() < 0.2
        self.arena.configure(self.random.randint(1, 5), broken)
        self._hup()
        self.counts["HUP"] += 1
        self.note(f"HUP max_workers={self.arena.workers}{' broken' if broken else ''}")
        if broken:  # a start with it would rightly be refused
            self.enough.wait(0.3)
            self.arena.configure(self.arena.workers)

    def _drain(self) -> bool:
        masters = self.pick("master")
        if not masters or not _catches(masters[0].pid, signal.SIGRTMIN):
            return False
        self.hit(masters, "drain", signal.Signals(signal.SIGRTMIN))
        self.enough.wait(self.random.uniform(0.1, 2))
        self._resume()
        return True

    def _resume(self) -> None:
        for master in self.arena.procs("master"):
            if _catches(master.pid, signal.SIGRTMIN + 1):
                os.kill(master.pid, signal.SIGRTMIN + 1)
                self.note("resume")

    def fill_disk(self) -> None:
        leave = self.random.choice((0, 0, 64 * 1024, 8 * MIB, 200 * MIB))
        seconds = self.random.uniform(0.3, 6)
        self.counts["fill disk"] += 1
        self.note(f"fill disk, {leave} bytes left, for {seconds:.1f} s")
        with self.arena.full_disk(leave):
            until = time.monotonic() + seconds
            while time.monotonic() < until and not self.enough.wait(self.random.uniform(0.2, 1)):
                if self.random.random() < 0.2:
                    self.random.choice((self.kill_worker, self.kill_master, self.kill_redis))()
        self.note("disk freed")

    def use_up_files(self) -> None:
        leave, seconds = self.random.choice((0, 0, 3, 20)), self.random.uniform(0.3, 6)
        self.counts["no more files"] += 1
        self.note(f"{leave} more files can be made, for {seconds:.1f} s")
        with self.arena.no_files(leave):
            self.enough.wait(seconds / 2)
            if self.random.random() < 0.3:
                self.kill_worker()
            self.enough.wait(seconds / 2)
        self.note("files can be made again")

    # --- frontend -------------------------------------------------------------------------

    def break_frontend(self) -> None:
        """New faults at the proxy, or none for a while."""
        if self.random.random() < 0.35:
            self.arena.proxy.rules = []
            self.note("frontend heals")
            return
        path = self.random.choice(("/backend/", "/backend/update", "starting", "pending", "task"))
        fault = self.random.choice([one for one in FAULTS if not self.brief or "hang" not in one])
        chance = self.random.choice((0.2, 0.5, 1.0))
        left = self.random.choice((1, 2, 5, 20))
        self.arena.proxy.rules = [*self.arena.proxy.rules[-2:], Rule(path, fault, chance, left)]
        self.counts[f"frontend {fault}"] += 1
        self.note(f"frontend: {fault} for {path} ({left} times, chance {chance})")

    def moment_at_frontend(self) -> None:
        """Kill while a certain request is asked, or done and not yet answered."""
        moment = self.random.choice(("asked", "accepted"))
        path = self.random.choice(REQUESTS)
        role = self.random.choice(("worker", "jobgrab", "jobgrab", "redis", "master", "web"))
        struck = threading.Event()

        def strike(now: str, where: str) -> None:
            if now == moment and path in where and not struck.is_set():
                struck.set()
                self.hit(self.arena.procs(role), f"kill {role} when {path} {moment}")

        self.arena.proxy.hook = strike
        waiter = time.monotonic() + 3
        while not struck.is_set() and time.monotonic() < waiter:
            struck.wait(0.2)
        self.arena.proxy.hook = lambda *_: None

    # --- moments --------------------------------------------------------------------------

    def moment_on_disk(self) -> None:
        """Kill (or stop) somebody the instant a certain file appears."""
        if not self.arena.destdir.is_dir():
            return
        name, what = self.random.choice(list(FILES.items()))
        roles = ("worker", "worker", "worker", "master", "redis", "everything", "createrepo_c")
        role = self.random.choice(roles)
        watch = Watch(self.arena.destdir)
        try:
            path = watch.wait(name, 4)
        finally:
            watch.close()
        if path is None:
            return
        delay = self.random.choice((0, 0, 0.002, 0.02))
        if delay:
            select.select([], [], [], delay)
        victims = self.arena.procs("" if role == "everything" else role)
        build = path.parent.name.partition("-")[0].lstrip("0")
        if role == "worker":
            victims = [proc for proc in victims if f" {build}" in proc.title] or victims
        self.note(f"moment: {what} ({path.relative_to(self.arena.destdir)})")
        self.hit(victims, f"kill {role} when {what}")


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _catches(pid: int, number: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    except (OSError, StopIteration):
        return False
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
