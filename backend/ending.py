"""How a claim ends: a script that the Redis server runs as one step, which no kill can divide."""

from collections.abc import Sequence
from typing import Any

import redis

#: KEYS attempt, claim, worker, outbox, cancel set, task, events; ARGV attempt number, task id,
#: report (or empty), wake channel, message, message of a start that is not the newest any more,
#: "1" for a success, event (or empty), most events, seconds to remember where an unreported task
#: lies. A start is fresh if it has the newest number and still holds its claim. Returns 1, 0 if it
#: is not fresh, 2 (and changes nothing) for a success that is to be canceled.
_SCRIPT = """
local fresh = redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXISTS', KEYS[2]) == 1
if fresh and ARGV[7] == '1' and redis.call('SISMEMBER', KEYS[5], ARGV[2]) == 1 then
  return 2
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[3], 'task', '', 'since', '')
if not fresh then
  redis.call('PUBLISH', ARGV[4], ARGV[6])
  return 0
end
redis.call('SREM', KEYS[5], ARGV[2])
if ARGV[3] ~= '' then
  redis.call('RPUSH', KEYS[4], ARGV[3])
else
  local told = redis.call('HGET', KEYS[6], 'told')
  redis.call('DEL', KEYS[1], KEYS[6])
  if told then
    redis.call('HSET', KEYS[6], 'told', told)
    redis.call('EXPIRE', KEYS[6], ARGV[10])
  end
end
if ARGV[8] ~= '' then
  redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[9], '*', 'event', ARGV[8])
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
"""


class Ending:
    """Runs it over a client."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client: Any = client
        self._digest = ""  # by which the server knows it

    def run(self, keys: Sequence[object], arguments: Sequence[object]) -> int:
        """What it returns."""
        # By hand: redis-py's Script takes as long for itself as for the command.
        try:
            if not self._digest:
                self._digest = str(self._client.script_load(_SCRIPT))
            return int(self._client.evalsha(self._digest, len(keys), *keys, *arguments))
        except redis.exceptions.NoScriptError:  # another server than before
            self._digest = ""
            return self.run(keys, arguments)
