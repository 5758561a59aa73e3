"""The build hosts for people: what the hosts helper has published, from Redis alone."""

import json
from typing import Any, cast

import redis

from backend import constants as names


def hosts(client: "redis.Redis") -> list[dict[str, Any]]:
    """All hosts of pools, by group and name; none where everything is built here.

    `state` is ready, busy, checking, quarantined, drained, starting or ending.
    """
    pipe: Any = client.pipeline(transaction=True)
    pipe.hgetall(names.HOSTS_KEY)
    pipe.hgetall(names.HOST_LEASES_KEY)
    known, held = pipe.execute()
    tasks: dict[str, list[str]] = {}
    for text in held.values():
        lease = json.loads(text)
        tasks.setdefault(lease["host"], []).append(lease["task"])
    found = [shown(json.loads(text), tasks) for text in known.values()]
    return sorted(found, key=lambda host: (host["group"], host["kind"] != "static", host["name"]))


def shown(raw: dict[str, Any], tasks: dict[str, list[str]]) -> dict[str, Any]:
    """A record of the helper, and the tasks of each host, for people."""
    own = tasks.get(raw["name"], [])
    state = raw["state"]
    if raw["drained"]:
        state = "drained"
    elif state == "ready" and own:
        state = "busy"
    copied = ("name", "group", "kind", "address", "slots", "since", "checked", "builds", "faults",
              "failures", "sandbox", "drained")  # fmt: skip
    return {
        "state": state,
        "tasks": sorted(own),
        "reason": raw["drained"] or raw["reason"],
        "until": raw["not_before"] if raw["state"] == "quarantined" else None,
        **{name: raw[name] for name in copied},
    }


def troubles(client: "redis.Redis") -> list[dict[str, Any]]:
    """Groups for which no machines can be started at the moment: `failures` in a row, `reason`
    of the last, and `until` when it is tried again."""
    known = cast(dict[str, str], client.hgetall(names.HOST_TROUBLE_KEY))
    found = []
    for group, text in sorted(known.items(), key=lambda item: int(item[0])):
        raw = json.loads(text)
        found.append({"group": int(group), "failures": raw["count"], "reason": raw["reason"],
                      "until": raw["not_before"]})  # fmt: skip
    return found


def waits(client: "redis.Redis") -> dict[str, str]:
    """Worker → why it has no host yet, of those that wait for one."""
    return dict(cast(dict[str, str], client.hgetall(names.HOST_WHY_KEY)))
