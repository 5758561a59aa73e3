"""The webhook: one signed message for each finished build, retried until it is taken.

A report that the frontend took makes its build a candidate. The frontend, which alone knows the
build as a whole, is then asked; once it calls the build finished, the message is made from its
answer. Candidates and messages are in a small database in statedir, and survive everything.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3

from backend.constants import FINISHED, Status
from backend.spool import Row, Spool

#: States of a build after which nothing more happens to it, as API v3 spells them.
ENDED = frozenset(status.label for status in FINISHED)
#: Looks at a canceled build whose tasks are still being stopped.
PATIENCE = 30
_HOUR = 3600.0


def delivery_id(build: int, state: str) -> str:
    """The same for each try, so that a receiver knows a repeated message."""
    return f"{build}-{state}"


def headers(
    delivery: str, body: bytes, secret: str, now: float, *, event: str = "build.finished"
) -> dict[str, str]:
    """Of one try. `X-Hub-Signature-256` is GitHub's; `X-Copr-Signature-256` covers the time too."""
    stamp = str(int(now))
    fields = {
        "Content-Type": "application/json",
        "User-Agent": "copr-backend",
        "X-Copr-Event": event,
        "X-Copr-Delivery": delivery,
        "X-Copr-Timestamp": stamp,
    }
    if secret:
        fields["X-Hub-Signature-256"] = f"sha256={_mac(secret, body)}"
        fields["X-Copr-Signature-256"] = f"sha256={_mac(secret, stamp.encode() + b'.' + body)}"
    return fields


def _mac(secret: str, data: bytes) -> str:
    return hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()


def message(base: str, build: Mapping[str, Any], chroots: Sequence[Mapping[str, Any]]) -> bytes:
    """The body, from what API v3 says of a build and of its chroots."""
    source = build.get("source_package") or {}
    number, state = int(build["id"]), str(build["state"])
    document = {
        "event": "build.finished",
        "delivery": delivery_id(number, state),
        "build": {
            "id": number,
            "state": state,
            "owner": build.get("ownername"),
            "project": build.get("projectname"),
            "dirname": build.get("project_dirname"),
            "submitter": build.get("submitter"),
            "package": source.get("name"),
            "version": source.get("version"),
            "submitted_on": build.get("submitted_on"),
            "started_on": build.get("started_on"),
            "ended_on": build.get("ended_on"),
            "failure": build.get("failure"),
            "repo_url": build.get("repo_url"),
            "url": f"{base}/coprs/build/{number}",
            "chroots": [
                {key: chroot.get(key) for key in ("name", "state", "ended_on", "result_url")}
                for chroot in chroots
            ],
        },
    }
    return json.dumps(document, sort_keys=True).encode()


def backoff(tries: int) -> float:
    """Seconds until the next try, after so many failed ones."""
    return min(2.0 * 2.0 ** min(tries, 20), _HOUR)


class Trouble(Exception):
    """Somebody did not answer as wanted; try again."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where messages go, and whom to ask about builds."""

    url: str
    secret: str
    timeout: float
    give_up: float
    frontend: str
    public: str

    @property
    def name(self) -> str:
        """The receiver for people: without path and password, which may be secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


class Sender:
    """`once` does the next step that is due. `say(text, level, kind)` tells of what happens."""

    def __init__(self, target: Target, spool: Spool, say: Callable[[str, str, str], None]) -> None:
        self._target, self._spool, self._say = target, spool, say
        limit = urllib3.Timeout(total=target.timeout)
        self._http = urllib3.PoolManager(maxsize=1, retries=False, timeout=limit)
        self._failures = 0
        self._not_before = 0.0
        self._trouble = ""

    def close(self) -> None:
        """Close connections and database."""
        self._http.clear()
        self._spool.close()

    def once(self, now: float) -> float:
        """Do what is due; returns in how many seconds to call again (0: at once)."""
        row, due = self._spool.next()
        if row is None or due > now:
            return due - now
        if now - row.since > self._target.give_up:
            self._give_up(row)
        elif not row.state:
            self._ask(row, now)
        elif now < self._not_before:
            self._spool.postpone(row, self._not_before)
        else:
            self._send(row, now)
        return 0.0

    # --- the frontend ---------------------------------------------------------------------

    def _ask(self, row: Row, now: float) -> None:
        try:
            build = self._get(f"build/{row.build}")
            if build is None or build.get("state") not in {*ENDED, Status.IMPORTING.label}:
                self._spool.drop(row)  # the next report makes it a candidate again
                return
            answer = self._get(f"build-chroot/list?build_id={row.build}") or {}
            chroots = [item for item in answer.get("items", []) if isinstance(item, dict)]
            if build["state"] in ENDED and self._settled(row, chroots):
                body = message(self._target.public, build, chroots)
                self._spool.compose(row, str(build["state"]), body, now)
                return
        except (Trouble, KeyError, ValueError, AttributeError) as error:
            self._complain(f"webhook: cannot ask the frontend about builds: {error}")
        self._spool.later(row, now + min(backoff(row.tries), 60.0))

    @staticmethod
    def _settled(row: Row, chroots: list[dict[str, Any]]) -> bool:
        """A canceled build is called finished while its tasks are still being stopped."""
        return row.tries > PATIENCE or all(item.get("state") in ENDED for item in chroots)

    def _get(self, path: str) -> dict[str, Any] | None:
        """An object of API v3; None if there is none (any more)."""
        status, body = self._request("GET", f"{self._target.frontend}/api_3/{path}")
        if status == 404:
            return None
        if status != 200:
            raise Trouble(f"the frontend answered {status}")
        found = json.loads(body)
        if not isinstance(found, dict):
            raise Trouble("the frontend answered with something else than an object")
        return found

    # --- the receiver ---------------------------------------------------------------------

    def _send(self, row: Row, now: float) -> None:
        delivery = delivery_id(row.build, row.state)
        fields = headers(delivery, row.body, self._target.secret, now)
        try:
            status, _ = self._request("POST", self._target.url, body=row.body, headers=fields)
            if not 200 <= status < 300:
                raise Trouble(f"it answered {status}")
        except Trouble as error:
            self._complain(f"webhook: {self._target.name} does not take messages: {error}")
            self._failures += 1
            self._not_before = now + min(backoff(self._failures), 60.0)
            self._spool.later(row, now + backoff(row.tries))
            return
        self._failures, self._not_before, self._trouble = 0, 0.0, ""
        self._spool.done(row)
        self._say(f"build {row.build}: webhook delivered ({row.state})", "debug", "webhook.sent")

    def _request(self, method: str, url: str, **more: Any) -> tuple[int, bytes]:
        try:
            reply = self._http.request(method, url, redirect=False, preload_content=False, **more)
            try:
                body = reply.read(4 * 1024**2) if method == "GET" else b""
            finally:
                reply.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Trouble(str(error).partition(": ")[2][:200] or type(error).__name__) from error
        return reply.status, body

    def _give_up(self, row: Row) -> None:
        days = self._target.give_up / 86400
        text = f"build {row.build}: webhook given up: not delivered for {days:.2g} days"
        self._say(text, "error", "webhook.dead")
        self._spool.done(row)

    def _complain(self, text: str) -> None:
        if text != self._trouble:
            self._say(text, "warning", "webhook.trouble")
        self._trouble = text


def serve(sender: Sender, wait: Callable[[float], object]) -> None:
    """Send for ever; `wait(seconds)` returns early when there may be more to do."""
    while True:
        wait(max(0.0, min(sender.once(time.time()), _HOUR)))
