"""The conveyor: retask queues, claims, attempts, cancels and the outbox. The only user of retask.

A task is in a queue, in one worker's claim, or its report is in the outbox; each move between
them is one atomic command. Task payloads are retask's own, so a plain retask producer works.
"""

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import redis
from retask import Queue
from retask import Task as RetaskTask

from backend import constants as names
from backend import wake
from backend.ending import Ending
from backend.exceptions import Canceled, CoprBackendError, ProtocolError
from backend.records import Records
from backend.register import Register


@dataclass(frozen=True)
class Claim:
    """A task in a worker's hands, with the attempt number of this start."""

    worker: str
    group: int
    task_id: str
    attempt: int


@dataclass(frozen=True)
class Report:
    """One entry of the outbox: a build object for the frontend's `update/`."""

    raw: str
    build: Mapping[str, Any]

    @property
    def task_id(self) -> str:
        """The task that it ends."""
        return str(self.build["task_id"])


def task_of(payload: str) -> str:
    """The task id in a queue's payload; raises ProtocolError."""
    try:
        data = json.loads(json.loads(payload)["_data"])
        return str(data["task_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(f"a queue holds {payload[:100]!r}: no 'task_id' in it") from error


class Queues(Register, Records):
    """All state that lives in Redis, over one client (see `redis_server.connect`)."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        self._ending = Ending(client)

    # --- queues ---------------------------------------------------------------------------

    def queue(self, group: int) -> Queue:
        """The group's retask queue, on our connection (retask can open only TCP ones)."""
        queue = Queue(names.QUEUE_NAME.format(group=group))
        queue.rdb = self.client
        queue.connected = True
        return queue

    def enqueue(self, group: int, task_id: str) -> None:
        """Append a task; raises CoprBackendError, where retask would only return False."""
        if not self.queue(group).enqueue(RetaskTask({"task_id": task_id})):
            raise CoprBackendError(f"cannot enqueue task {task_id}: Redis did not take it")

    def enqueue_all(self, tasks: Iterable[tuple[str, int]]) -> None:
        """Append (task id, group) pairs, in order and in one round trip."""
        pipe = self.client.pipeline(transaction=True)
        for task_id, group in tasks:
            queue = self.queue(group)
            queue.rdb = pipe
            queue.enqueue(RetaskTask({"task_id": task_id}))
        pipe.execute()

    def take_all(self, group: int) -> list[str]:
        """Empty the group's queue; returns what was in it, next one first."""
        key = names.QUEUE_KEY.format(group=group)
        pipe = self.client.pipeline(transaction=True)
        pipe.lrange(key, 0, -1)
        pipe.delete(key)
        return [task_of(payload) for payload in reversed(pipe.execute()[0])]

    def queued(self, group: int) -> list[str]:
        """Task ids in the queue, next one first; unreadable payloads are dropped from it."""
        key = names.QUEUE_KEY.format(group=group)
        found = []
        for payload in reversed(cast(list[str], self.client.lrange(key, 0, -1))):
            try:
                found.append(task_of(payload))
            except ProtocolError:
                self.client.lrem(key, 1, payload)
        return found

    def remove(self, group: int, task_id: str) -> bool:
        """Take a task, the last if doubled, out of the queue; False if it was not there."""
        key = names.QUEUE_KEY.format(group=group)
        for payload in cast(list[str], self.client.lrange(key, 0, -1)):
            with contextlib.suppress(ProtocolError):  # `queued` drops those
                if task_of(payload) == task_id:
                    return bool(self.client.lrem(key, 1, payload))
        return False

    def clean(self, group: int) -> None:
        """Empty the group's queue."""
        self.client.delete(names.QUEUE_KEY.format(group=group))

    # --- workers and claims ---------------------------------------------------------------

    def claim(self, group: int, worker: str, timeout: int) -> Claim | None:
        """Wait for a task and take it, atomically; None after `timeout` seconds."""
        key = names.CLAIM_KEY.format(worker=worker)
        payload = self.client.blmove(
            names.QUEUE_KEY.format(group=group), key, timeout, "RIGHT", "LEFT"
        )
        if payload is None:
            return None
        try:
            task_id = task_of(str(payload))
        except ProtocolError:
            self.client.delete(key)
            raise
        pipe = self.client.pipeline(transaction=False)
        pipe.incr(names.ATTEMPT_KEY.format(task=task_id))
        held = {"task": task_id, "since": round(time.time(), 3)}
        pipe.hset(names.WORKER_KEY.format(worker=worker), mapping=cast(Any, held))
        pipe.sadd(names.WORKERS_KEY, worker)
        return Claim(worker, group, task_id, int(pipe.execute()[0]))

    def claims(self) -> dict[str, str]:
        """Worker name → the task that it holds; unreadable payloads are dropped."""
        workers = self.workers()
        pipe: Any = self.client.pipeline(transaction=False)
        for worker in workers:
            pipe.lindex(names.CLAIM_KEY.format(worker=worker), 0)
        found = {}
        for worker, payload in zip(workers, pipe.execute(), strict=True):
            if payload is None:
                continue
            try:
                found[worker] = task_of(payload)
            except ProtocolError:
                self.client.lrem(names.CLAIM_KEY.format(worker=worker), 1, payload)
        return found

    def give_back(self, worker: str, group: int) -> None:
        """Return what a worker holds to the front of its queue, to be taken next."""
        claim, queue = names.CLAIM_KEY.format(worker=worker), names.QUEUE_KEY.format(group=group)
        while self.client.lmove(claim, queue, "LEFT", "RIGHT") is not None:
            pass
        idle = {"task": "", "since": ""}
        self.client.hset(names.WORKER_KEY.format(worker=worker), mapping=cast(Any, idle))

    def put_off(self, claim: Claim) -> None:
        """Let go of what a worker holds, so that others are next: the frontend's next list brings
        it back. Everything that is known of the task stays."""
        pipe: Any = self.client.pipeline(transaction=True)
        pipe.delete(names.CLAIM_KEY.format(worker=claim.worker))
        pipe.hset(names.WORKER_KEY.format(worker=claim.worker), mapping={"task": "", "since": ""})
        pipe.sadd(names.PUT_OFF_KEY, claim.task_id)
        pipe.publish(names.WAKE_CHANNEL, wake.encode("free", ended=claim.task_id))
        pipe.execute()

    def put_off_tasks(self) -> set[str]:
        """Those that were put off, until `lapse` or `forget`."""
        return set(cast(set[str], self.client.smembers(names.PUT_OFF_KEY)))

    def current(self, claim: Claim) -> bool:
        """True unless a newer start of the same task has taken over, or the claim is gone."""
        return self.standing(claim)[0]

    def standing(self, claim: Claim) -> tuple[bool, bool]:
        """(still current, to be canceled), in one round trip."""
        pipe = self.client.pipeline(transaction=False)
        pipe.get(names.ATTEMPT_KEY.format(task=claim.task_id))
        pipe.exists(names.CLAIM_KEY.format(worker=claim.worker))
        pipe.sismember(names.CANCEL_KEY, claim.task_id)
        number, held, canceled = pipe.execute()
        return str(number) == str(claim.attempt) and bool(held), bool(canceled)

    def finish(self, claim: Claim, build: Mapping[str, Any] | None, event: str = "") -> bool:
        """End a claim, in one atomic step and one round trip: `build` goes into the outbox and
        `event` (see `Events.text`) onto the stream; with None for `build` there is nothing to
        report, and what is known of the task is forgotten: in an hour also where it lies.

        False, and nothing reported, when the claim is not held any more or a newer start of
        the task has taken over: so it can be repeated when the answer got lost. Raises
        Canceled, and changes nothing, for a success that its owner no longer wants.
        """
        keys = (
            names.ATTEMPT_KEY.format(task=claim.task_id),
            names.CLAIM_KEY.format(worker=claim.worker),
            names.WORKER_KEY.format(worker=claim.worker),
            names.OUTBOX_KEY,
            names.CANCEL_KEY,
            names.TASK_KEY.format(task=claim.task_id),
            names.EVENTS_KEY,
        )
        report = json.dumps(dict(build)) if build is not None else ""
        message = wake.encode("outbox" if report else "free", ended=claim.task_id)
        stale = wake.encode("free")
        success = build is not None and build.get("status") == names.Status.SUCCEEDED
        args = (claim.attempt, claim.task_id, report, names.WAKE_CHANNEL, message, stale)
        last = ("1" if success else "", event, names.EVENTS_MAXLEN, names.KEEP_TOLD)
        answer = self._ending.run(keys, (*args, *last))
        if answer == 2:
            raise Canceled("canceled on request, when it was built already")
        return answer == 1

    # --- cancels --------------------------------------------------------------------------

    def request_cancel(self, task_id: str) -> None:
        """Mark a running task as to be stopped; its worker is then woken by a signal."""
        self.client.sadd(names.CANCEL_KEY, task_id)

    def cancel_requested(self, task_id: str) -> bool:
        """True when the task must be stopped."""
        return bool(self.client.sismember(names.CANCEL_KEY, task_id))

    def canceled(self) -> set[str]:
        """The tasks whose cancel was requested and is not settled yet."""
        return set(cast(set[str], self.client.smembers(names.CANCEL_KEY)))

    # --- outbox ---------------------------------------------------------------------------

    def outbox(self) -> list[Report]:
        """Reports that the frontend has not accepted yet, oldest first."""
        raw = cast(list[str], self.client.lrange(names.OUTBOX_KEY, 0, -1))
        return [Report(text, json.loads(text)) for text in raw]

    def post(self, build: Mapping[str, Any], dead_worker: str = "") -> None:
        """Put a report into the outbox; in the same step a dead worker's claim ends with it."""
        pipe = self.client.pipeline(transaction=True)
        pipe.rpush(names.OUTBOX_KEY, json.dumps(dict(build)))
        if dead_worker:
            pipe.delete(names.CLAIM_KEY.format(worker=dead_worker))
        pipe.execute()

    # --- wake-up --------------------------------------------------------------------------

    def wake(self, why: str) -> None:
        """Tell the job grabber to look now."""
        self.client.publish(names.WAKE_CHANNEL, wake.encode(why))

    def subscribe(self) -> Any:
        """A redis-py PubSub that receives what `wake` sends."""
        client: Any = self.client
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        pubsub.subscribe(names.WAKE_CHANNEL)
        return pubsub
