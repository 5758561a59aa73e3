"""The register of workers in Redis: which process is behind which name."""

import contextlib
from collections.abc import Iterable
from typing import Any, cast

import redis

from backend import constants as names
from backend.processid import ProcessId


class Register:
    """Workers by name; a name is never used twice."""

    client: "redis.Redis"

    def register(self, worker: str, group: int, process: ProcessId) -> None:
        """Say which process this worker is; its claim is returned once that one is dead."""
        key = names.WORKER_KEY.format(worker=worker)
        fields = {"pid": process.pid, "start": process.start, "group": group}
        pipe = self.client.pipeline(transaction=True)
        pipe.hset(key, mapping=cast(Any, fields))
        pipe.sadd(names.WORKERS_KEY, worker)
        pipe.execute()

    def holds(self, worker: str) -> bool:
        """True when the worker has a claim."""
        return bool(self.client.exists(names.CLAIM_KEY.format(worker=worker)))

    def holder(self, worker: str) -> tuple[ProcessId, int] | None:
        """The process behind a worker's name and its group; None if it never registered."""
        return self.holders([worker])[worker]

    def holders(self, workers: Iterable[str]) -> dict[str, tuple[ProcessId, int] | None]:
        """`holder` of many, in one request."""
        workers = list(workers)
        pipe = self.client.pipeline(transaction=False)
        for worker in workers:
            pipe.hmget(names.WORKER_KEY.format(worker=worker), "pid", "start", "group")
        found: dict[str, tuple[ProcessId, int] | None] = dict.fromkeys(workers)
        for worker, (pid, start, group) in zip(workers, pipe.execute(), strict=True):
            with contextlib.suppress(TypeError, ValueError):
                found[worker] = ProcessId(int(pid), int(start)), int(group)
        return found

    def bury(self, worker: str) -> None:
        """Forget a dead worker, whose claim has been returned."""
        pipe = self.client.pipeline(transaction=True)
        pipe.delete(names.WORKER_KEY.format(worker=worker), names.CLAIM_KEY.format(worker=worker))
        pipe.srem(names.WORKERS_KEY, worker)
        pipe.execute()

    def workers(self) -> list[str]:
        """Names of all registered workers."""
        return sorted(cast(set[str], self.client.smembers(names.WORKERS_KEY)))

    def enlist(self) -> None:
        """Find workers and claims that the set of workers has forgotten. Reads all keys."""
        for prefix in (names.WORKER_PREFIX, names.CLAIM_PREFIX):
            for key in self.client.scan_iter(match=prefix + "*", count=1000):
                self.client.sadd(names.WORKERS_KEY, str(key).removeprefix(prefix))
