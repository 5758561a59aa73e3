"""Where workers and the hosts helper meet: requests, leases and news, in Redis.

A worker asks and gives back; only the helper grants. Each move is one atomic step. A lease
belongs to a worker's name, which carries its process, and ends with that at the latest.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis

from backend import constants as names
from backend.hosts.pool import Lease, Machine, Outcome, Request

#: News of ended leases that are kept while there is no helper.
NEWS = 1000

#: KEYS waiting, leases, hosts, why, token; ARGV worker, request number, host, lease (JSON without
#: its token), channel of the worker. Returns the token, or 0: the request is not there any more,
#: or the host may not be given to it.
_GRANT = """
local asked = redis.call('HGET', KEYS[1], ARGV[1])
local known = redis.call('HGET', KEYS[3], ARGV[3])
if not asked or not known or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 0 end
local request, host = cjson.decode(asked), cjson.decode(known)
if request.number ~= ARGV[2] or host.state ~= 'ready' then return 0 end
if host.affine and host.sandbox ~= request.sandbox then return 0 end
local used = 0
for _, text in ipairs(redis.call('HVALS', KEYS[2])) do
  local lease = cjson.decode(text)
  if lease.host == ARGV[3] then
    used = used + 1
    if host.affine and lease.sandbox ~= request.sandbox then return 0 end
  end
end
if used >= host.slots then return 0 end
local token = redis.call('INCR', KEYS[5])
local lease = cjson.decode(ARGV[4])
lease.token = token
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(lease))
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('PUBLISH', ARGV[5], token)
return token
"""

#: KEYS leases, waiting, why, news; ARGV worker, token, news (JSON), channel, most news. The lease
#: ends if it is still that one; the helper hears of it in any case.
_RELEASE = """
local text = redis.call('HGET', KEYS[1], ARGV[1])
if text and tostring(cjson.decode(text).token) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('RPUSH', KEYS[4], ARGV[3])
redis.call('LTRIM', KEYS[4], -tonumber(ARGV[5]), -1)
redis.call('PUBLISH', ARGV[4], 'released')
return 1
"""


@dataclass(frozen=True, kw_only=True)
class News:
    """How a lease ended."""

    worker: str
    host: str
    token: int
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One consistent look; the news are taken by it."""

    waiting: dict[str, Request]
    leases: dict[str, Lease]
    news: list[News]


class Exchange:
    """Both sides, over one client."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        self._grant = cast(Any, client.register_script(_GRANT))
        self._release = cast(Any, client.register_script(_RELEASE))

    # --- the worker's side ----------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """Say what is wanted; a lease that this worker still had is none of the new request."""
        pipe: Any = self.client.pipeline(transaction=True)
        pipe.hset(names.HOST_WAITING_KEY, request.worker, json.dumps(asdict(request)))
        pipe.publish(names.HOST_CHANNEL, "asked")
        pipe.execute()

    def granted(self, worker: str) -> tuple[Lease | None, Machine | None, bool]:
        """(the worker's lease, its host, still waiting)."""
        pipe: Any = self.client.pipeline(transaction=True)
        pipe.hget(names.HOST_LEASES_KEY, worker)
        pipe.hexists(names.HOST_WAITING_KEY, worker)
        raw, waits = pipe.execute()
        if raw is None:
            return None, None, bool(waits)
        lease = Lease(**json.loads(raw))
        known = cast(Any, self.client.hget(names.HOSTS_KEY, lease.host))
        return lease, Machine.from_dict(json.loads(known)) if known else None, False

    def withdraw(self, worker: str) -> None:
        """Nothing is wanted any more; a lease that came meanwhile ends unused."""
        pipe: Any = self.client.pipeline(transaction=True)
        pipe.hdel(names.HOST_WAITING_KEY, worker)
        pipe.hget(names.HOST_LEASES_KEY, worker)
        raw = pipe.execute()[1]
        if raw is not None:
            self.release(Lease(**json.loads(raw)), Outcome.NEUTRAL)
        else:
            self.client.hdel(names.HOST_WHY_KEY, worker)

    def release(self, lease: Lease, outcome: Outcome, why: str = "") -> None:
        """Give the host back, and say how it went."""
        news = {"worker": lease.worker, "host": lease.host, "token": lease.token,
                "outcome": outcome, "why": why[:500]}  # fmt: skip
        keys = (
            names.HOST_LEASES_KEY,
            names.HOST_WAITING_KEY,
            names.HOST_WHY_KEY,
            names.HOST_NEWS_KEY,
        )
        args = (lease.worker, lease.token, json.dumps(news), names.HOST_CHANNEL, NEWS)
        self._release(keys=keys, args=args)

    # --- the helper's side ----------------------------------------------------------------

    def look(self) -> Snapshot:
        """Everything at one moment."""
        pipe: Any = self.client.pipeline(transaction=True)
        pipe.hgetall(names.HOST_WAITING_KEY)
        pipe.hgetall(names.HOST_LEASES_KEY)
        pipe.lrange(names.HOST_NEWS_KEY, 0, -1)
        pipe.delete(names.HOST_NEWS_KEY)
        waiting, leases, news, _ = pipe.execute()
        return Snapshot(
            waiting={worker: _request(text) for worker, text in waiting.items()},
            leases={worker: Lease(**json.loads(text)) for worker, text in leases.items()},
            news=[_news(text) for text in news],
        )

    def grant(self, request: Request, machine: Machine, now: float) -> Lease | None:
        """Give a host to who asked; None when that is not possible any more."""
        lease = Lease(
            worker=request.worker,
            host=machine.name,
            task=request.task,
            sandbox=request.sandbox,
            pid=request.pid,
            start=request.start,
            since=now,
        )
        keys = (
            names.HOST_WAITING_KEY,
            names.HOST_LEASES_KEY,
            names.HOSTS_KEY,
            names.HOST_WHY_KEY,
            names.HOST_TOKEN_KEY,
        )
        channel = names.HOST_GRANT_CHANNEL.format(worker=request.worker)
        args = (request.worker, request.number, machine.name, json.dumps(asdict(lease)), channel)
        token = int(self._grant(keys=keys, args=args))
        return Lease(**{**asdict(lease), "token": token}) if token else None

    def restore(self, lease: Lease) -> None:
        """A lease that Redis has forgotten, while its worker lives."""
        self.client.hset(names.HOST_LEASES_KEY, lease.worker, json.dumps(asdict(lease)))

    def bury(self, workers: Iterable[str]) -> None:
        """These are dead: what they had asked for or held is gone."""
        gone = list(workers)
        if gone:
            pipe: Any = self.client.pipeline(transaction=True)
            for key in (names.HOST_WAITING_KEY, names.HOST_LEASES_KEY, names.HOST_WHY_KEY):
                pipe.hdel(key, *gone)
            pipe.execute()

    def publish(self, machines: Mapping[str, str], gone: Iterable[str]) -> None:
        """Hosts as JSON, and those that are no more."""
        pipe: Any = self.client.pipeline(transaction=True)
        if machines:
            pipe.hset(names.HOSTS_KEY, mapping=dict(machines))
        if left := list(gone):
            pipe.hdel(names.HOSTS_KEY, *left)
        pipe.execute()

    def explain(self, texts: Mapping[str, str], gone: Iterable[str]) -> None:
        """Why workers wait; for those who still do."""
        pipe: Any = self.client.pipeline(transaction=True)
        if texts:
            pipe.hset(names.HOST_WHY_KEY, mapping=dict(texts))
        if left := list(gone):
            pipe.hdel(names.HOST_WHY_KEY, *left)
        pipe.execute()

    def troubles(self, texts: Mapping[int, str]) -> None:
        """Groups for which no machines can be started, and why: these and no others."""
        pipe: Any = self.client.pipeline(transaction=True)
        pipe.delete(names.HOST_TROUBLE_KEY)
        if texts:
            pipe.hset(names.HOST_TROUBLE_KEY, mapping={str(g): text for g, text in texts.items()})
        pipe.execute()

    def known(self) -> dict[str, str]:
        """What was published: host → JSON."""
        return dict(cast(dict[str, str], self.client.hgetall(names.HOSTS_KEY)))


def _request(text: str) -> Request:
    raw = json.loads(text)
    return Request(**{**raw, "tried": tuple(raw["tried"])})


def _news(text: str) -> News:
    raw = json.loads(text)
    return News(**{**raw, "outcome": Outcome(raw["outcome"])})
