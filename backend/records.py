"""What Redis remembers of single tasks: attempts, deaths, faults and where their results lie."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import redis

from backend import constants as names


@dataclass(frozen=True, kw_only=True)
class Told:
    """Where the results of a task's last start belong, as its record told: enough to take them
    out of the repository again, whatever the frontend says of the task by then."""

    owner: str
    dirname: str
    chroot_dir: str
    result_dir: str
    devel: bool

    @classmethod
    def read(cls, raw: object) -> Self | None:
        """From the JSON in Redis; None if there is none."""
        return cls(**json.loads(str(raw))) if raw else None


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Something that fails for one task alone, and is tried again: since when (epoch), how often,
    and why the last time. `what` is cancel, report or withdrawal."""

    task: str
    what: str
    why: str
    since: float
    tries: int


def troubles(client: "redis.Redis") -> list[Trouble]:
    """What is kept and tried again, the oldest first."""
    raw = cast(Mapping[str, str], client.hgetall(names.KEPT_KEY))
    return sorted((Trouble(**json.loads(text)) for text in raw.values()), key=lambda t: t.since)


class Records:
    """Counters and notes by task id; they go when the task's report is delivered."""

    client: "redis.Redis"

    def count_death(self, task_id: str) -> int:
        """One more worker died over this task; returns how many by now."""
        key = names.TASK_KEY.format(task=task_id)
        return int(self.client.hincrby(key, "deaths", 1))

    def note_death(self, who: str, now: float) -> int:
        """Remember who died; returns how many others did in the last `LATELY` seconds."""
        pipe = self.client.pipeline(transaction=True)
        pipe.zadd(names.DEATHS_KEY, {who: now})
        pipe.zremrangebyscore(names.DEATHS_KEY, 0, now - names.LATELY)
        pipe.zcard(names.DEATHS_KEY)
        return int(pipe.execute()[-1]) - 1

    def count_fault(self, task_id: str) -> int:
        """The farm could not do it once more; returns how often by now."""
        return int(self.client.hincrby(names.TASK_KEY.format(task=task_id), "faults", 1))

    def host_faults(self, task_id: str) -> dict[str, str]:
        """The hosts that failed under the task, and why."""
        raw = self.client.hget(names.TASK_KEY.format(task=task_id), "hosts")
        return dict(json.loads(str(raw))) if raw else {}

    def note_host_fault(self, task_id: str, host: str, why: str) -> dict[str, str]:
        """One more host failed under the task; returns them all."""
        faults = self.host_faults(task_id)
        while host in faults:  # the only one there is: each time counts
            host += "'"
        faults[host] = why[:300]
        self.client.hset(names.TASK_KEY.format(task=task_id), "hosts", json.dumps(faults))
        return faults

    def trouble_age(self, task_id: str, now: float) -> float:
        """Seconds since this was first asked about the task, or first after it was settled: how
        long it has been in trouble."""
        key = names.TASK_KEY.format(task=task_id)
        self.client.hsetnx(key, "trouble", str(now))
        return now - float(str(self.client.hget(key, "trouble") or now))

    def count_trouble(self, task_id: str) -> int:
        """The task is given back once more; returns how often by now, since it was settled."""
        return int(self.client.hincrby(names.TASK_KEY.format(task=task_id), "tries", 1))

    def frontend_away(self) -> bool:
        """True when the job grabber could not get the last list of tasks."""
        return bool(self.client.hget(names.GRABBER_KEY, "trouble"))

    def settled(self, task_id: str) -> None:
        """The task is out of its trouble: what comes next is a new one."""
        self.client.hdel(names.TASK_KEY.format(task=task_id), "trouble", "tries")

    def place(self, task_id: str) -> str:
        """The result directory that the task's last start told; empty if none did."""
        told = self.told(task_id)
        return told.result_dir if told else ""

    def told(self, task_id: str) -> Told | None:
        """Where the results of the task's last start belong; None if nobody told."""
        return Told.read(self.client.hget(names.TASK_KEY.format(task=task_id), "told"))

    def tell_place(self, task_id: str, told: Told, event: str = "") -> None:
        """Remember where the results belong: every later report must repeat it. `event` (see
        `Events.text`) goes onto the stream in the same round trip."""
        key = names.TASK_KEY.format(task=task_id)
        pipe = self.client.pipeline(transaction=False)
        pipe.hset(key, "told", json.dumps(vars(told)))
        pipe.persist(key)  # of an earlier start that ended without a report
        if event:
            pipe.xadd(names.EVENTS_KEY, {"event": event}, maxlen=names.EVENTS_MAXLEN)
        pipe.execute()

    def supersede(self, task_id: str) -> None:
        """Whoever builds the task now is not to report it: it stops by itself."""
        self.client.incr(names.ATTEMPT_KEY.format(task=task_id))

    def lapse(self, task_id: str) -> None:
        """A task that is nowhere on the conveyor any more; a request to cancel it may still come,
        and then it must be known where it lies."""
        key = names.TASK_KEY.format(task=task_id)
        told = self.client.hget(key, "told")
        self.forget(task_id)
        if told:
            pipe: Any = self.client.pipeline(transaction=True)
            pipe.hset(key, "told", told)
            pipe.expire(key, names.KEEP_TOLD)
            pipe.execute()

    def owe(self, task_id: str) -> None:
        """Nobody remembers whether and where the task was published: to be asked for."""
        self.client.sadd(names.OWED_KEY, task_id)

    def owed(self) -> list[str]:
        """What `owe` noted, until `paid`."""
        return sorted(str(task) for task in cast(set[str], self.client.smembers(names.OWED_KEY)))

    def paid(self, task_id: str) -> None:
        """Nothing of the task is published."""
        self.client.srem(names.OWED_KEY, task_id)

    def forget(self, task_id: str) -> None:
        """A task that is nowhere on the conveyor any more leaves nothing behind."""
        self.client.delete(
            names.TASK_KEY.format(task=task_id), names.ATTEMPT_KEY.format(task=task_id)
        )
        self.client.srem(names.CANCEL_KEY, task_id)
        self.client.srem(names.PUT_OFF_KEY, task_id)

    def started(self, task_id: str) -> bool:
        """True when a worker has ever taken the task, and its end is not settled yet."""
        return bool(self.client.exists(names.ATTEMPT_KEY.format(task=task_id)))

    def accepted(self, task_id: str) -> bool:
        """True when the frontend has accepted the task's success, not long ago."""
        return bool(self.client.exists(names.DELIVERED_KEY.format(task=task_id)))
