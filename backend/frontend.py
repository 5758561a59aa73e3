"""Client of the frontend's `/backend/…` namespace (protocol version 9)."""

import base64
import http.client
import json
import select
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from backend.action import PendingAction
from backend.constants import API_VERSION, API_VERSION_HEADER, SRPM_CHROOT, ActionResult
from backend.exceptions import (
    FrontendBroken,
    FrontendError,
    FrontendRefused,
    FrontendSilent,
    ProtocolError,
)
from backend.pending import PendingTask

#: Largest answer that is read, in bytes.
MAX_ANSWER = 64 * 1024**2
#: Most values in one answer: each takes some hundred bytes of memory.
MAX_VALUES = 3_000_000
#: Not the application's own answers: it, or what stands before it, is away for a while.
_AWAY = (408, 429, 502, 503, 504)
_CHUNK = 1 << 20


def _part(task_id: str) -> str:
    """For a path: what the frontend named, even if it is no task id at all."""
    return quote(task_id, safe="@:+~^")


@dataclass(frozen=True)
class Admission:
    """The answer to a start: may it, and (from the embedded frontend) the task's full record."""

    granted: bool
    task: Mapping[str, Any] | None = None


class _Plain(http.client.HTTPConnection):
    """Sends head and body of a request in one piece: the other side wakes up once for it."""

    _held = b""

    def send(self, data: Any) -> None:
        """Keep it until the answer is asked for."""
        self._held += data

    def getresponse(self) -> http.client.HTTPResponse:
        """Send what was kept, and wait for the answer."""
        held, self._held = self._held, b""
        super().send(held)
        return super().getresponse()


class _Secure(_Plain, http.client.HTTPSConnection):
    """The same over TLS."""


class Frontend:
    """One frontend; raises FrontendError (try again later) or FrontendRefused (final).

    One connection is kept open from call to call, by one process: opened at the first call,
    so that it never crosses a fork. `timeout` limits a whole call, in seconds.
    """

    def __init__(self, base_url: str, password: str, *, timeout: float = 30.0) -> None:
        self._base = base_url.rstrip("/") + "/backend/"
        self._parts = urlsplit(self._base)
        code = base64.b64encode(f"user:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {code}", "User-Agent": "copr-backend"}
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _open(self, left: float) -> http.client.HTTPConnection:
        """The kept connection unless the other side has closed it, or a new one (which has no
        socket yet)."""
        connection = self._connection
        if connection and connection.sock:
            if not select.select([connection.sock], [], [], 0)[0]:
                connection.sock.settimeout(left)
                return connection
            connection.close()  # readable before a request was sent: its end
        make = _Secure if self._parts.scheme == "https" else _Plain
        self._connection = make(self._parts.hostname or "", self._parts.port, timeout=left)
        return self._connection

    def _call(self, path: str, body: object = None) -> Any:
        method = "GET" if body is None else "POST"
        headers, data = self._headers, None
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
            data = json.dumps(body).encode()
        deadline = time.monotonic() + self._timeout
        try:
            connection = self._open(self._timeout)
            kept = connection.sock is not None
            where = path if path[0] == "/" else self._parts.path + path
            try:
                connection.request(method, where, body=data, headers=headers)
                reply = connection.getresponse()
            except ConnectionError:
                if not kept or body is not None:
                    raise
                # A server ends what is idle, perhaps at this very moment; and to ask is harmless.
                self.close()
                connection = self._open(self._timeout)
                connection.request(method, where, headers=headers)
                reply = connection.getresponse()
            text = self._read(connection, reply, deadline)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            reason = str(error) or type(error).__name__
            raise FrontendSilent(f"{method} {self._base}{path}: {reason}") from error
        return self._judge(f"{method} {self._base}{path}", reply, text, api=path[0] == "/")

    @staticmethod
    def _read(
        connection: http.client.HTTPConnection, reply: http.client.HTTPResponse, deadline: float
    ) -> bytes:
        text = bytearray()
        while len(text) <= MAX_ANSWER:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer is too slow")
            if connection.sock:
                connection.sock.settimeout(left)
            piece = reply.read1(_CHUNK)
            if not piece:
                reply.close()  # the connection is free for the next call
                return bytes(text)
            text += piece
        connection.close()  # not to be read to its end
        return bytes(text)

    def _judge(
        self, what: str, reply: http.client.HTTPResponse, text: bytes, *, api: bool = False
    ) -> Any:
        if reply.status in _AWAY:
            raise FrontendError(f"{what}: the frontend answered {reply.status}")
        if reply.status >= 500:
            raise FrontendBroken(f"{what}: the frontend answered {reply.status}")
        if reply.status == 401:  # not final: nothing may be lost over a wrong setting
            raise FrontendError(f"{what}: password refused: correct frontend_auth")
        if reply.status >= 400:
            raise FrontendRefused(f"{what}: the frontend answered {reply.status}")
        version = reply.headers.get(API_VERSION_HEADER, "")[:9]
        if not api and (not version.isdecimal() or int(version) < API_VERSION):
            raise FrontendError(
                f"{what}: speaks backend protocol {version or 'unknown'},"
                f" version {API_VERSION} or newer is needed: check frontend_base_url"
            )
        if len(text) > MAX_ANSWER:
            raise FrontendBroken(f"{what}: answer longer than {MAX_ANSWER} bytes")
        if text.count(b",") > MAX_VALUES:
            raise FrontendBroken(f"{what}: answer with more than {MAX_VALUES} values")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FrontendBroken(f"{what}: the answer is no JSON: {text[:80]!r}") from error

    def pending(self) -> tuple[list[PendingTask], list[str]]:
        """All unfinished tasks, and one line for each record that cannot be read."""
        records = self._call("pending-jobs/")
        if not isinstance(records, list):
            raise FrontendBroken("pending-jobs/: the answer is no list")
        tasks, problems = [], []
        for record in records:
            try:
                if not isinstance(record, dict):
                    raise ProtocolError(f"pending-jobs/ holds {str(record)[:80]!r}")
                tasks.append(PendingTask.from_record(record))
            except ProtocolError as error:
                problems.append(str(error))
        return tasks, problems

    def task(self, task_id: str) -> Mapping[str, Any] | None:
        """The full record of a task; None when the frontend no longer wants it built."""
        kind = "get-srpm-build-task" if task_id.isdigit() else "get-build-task"
        record = self._call(f"{kind}/{_part(task_id)}/")
        if record is not None and not isinstance(record, dict):
            raise FrontendBroken(f"{kind}/{task_id}/: the answer is no object")
        return record

    def starting(self, build: Mapping[str, Any]) -> Admission:
        """Claim a task at the frontend; not granted if it was canceled or is gone.

        With `"want_task": true` the embedded frontend also gives the task's record, and marks
        it running at once; any other frontend ignores that key.
        """
        answer = self._call("starting_build/", dict(build))
        if not isinstance(answer, dict):
            return Admission(False)
        task = answer.get("task")
        return Admission(bool(answer.get("can_start")), task if isinstance(task, dict) else None)

    def update(self, builds: Sequence[Mapping[str, Any]]) -> None:
        """Report builds; at most one object per build id in one call."""
        self._call("update/", {"builds": [dict(build) for build in builds]})

    def cancel_requests(self) -> list[str]:
        """Task ids that users want stopped and nobody has acknowledged yet."""
        answer = self._call("build-tasks/cancel-requests/")
        if not isinstance(answer, list):
            raise FrontendBroken("cancel-requests/: the answer is no list")
        return [str(task_id) for task_id in answer]

    def chroot_state(self, task_id: str) -> str:
        """What API v3 calls the state of an RPM task, e.g. `succeeded`, also when its build was
        canceled; empty if it does not say. Raises nothing."""
        number, _, chroot = task_id.partition("-")
        top = self._parts.path.removesuffix("backend/")
        query = urlencode({"build_id": number, "chrootname": chroot})
        try:
            answer = self._call(f"{top}api_3/build-chroot?{query}") if chroot else None
        except (FrontendRefused, FrontendError):
            return ""
        return str(answer.get("state") or "") if isinstance(answer, dict) else ""

    def canceled(self, task_id: str, was_running: bool) -> None:
        """Acknowledge a cancel request."""
        self._call(f"build-tasks/canceled/{_part(task_id)}/", was_running)

    def reschedule(self, task_id: str) -> None:
        """Have a starting or running task shown as pending again; it need not be one."""
        number, _, chroot = task_id.partition("-")
        body = {"build_id": int(number), "task_id": task_id, "chroot": chroot or SRPM_CHROOT}
        self._call("reschedule_build_chroot/", body)

    def pending_actions(self) -> tuple[list[PendingAction], list[str]]:
        """All waiting actions, and one line for each record that cannot be read."""
        records = self._call("pending-actions/")
        if not isinstance(records, list):
            raise FrontendBroken("pending-actions/: the answer is no list")
        actions, problems = [], []
        for record in records:
            try:
                actions.append(PendingAction.from_record(record))
            except ProtocolError as error:
                problems.append(str(error))
        return actions, problems

    def action(self, number: int) -> Any:
        """The full record of an action, unread."""
        return self._call(f"action/{number}/")

    def end_action(self, number: int, result: ActionResult, message: str = "") -> None:
        """Report how an action ended; repeating it is harmless."""
        record: dict[str, Any] = {"id": number, "result": int(result)}
        if message:
            record["message"] = message
        self._call("update/", {"actions": [record]})

    def chroots_to_prune(self) -> Mapping[str, bool]:
        """Chroots that have reached their end of life: whether their last pruning was done."""
        answer = self._call("chroots-prunerepo-status/")
        if not isinstance(answer, dict):
            raise FrontendBroken("chroots-prunerepo-status/: the answer is no object")
        states = {name: state for name, state in answer.items() if isinstance(state, dict)}
        return {
            name: bool(state.get("final_prunerepo_done"))
            for name, state in states.items()
            if not state.get("active", True)
        }

    def last_prune_done(self, chroots: Sequence[str]) -> None:
        """Say that these chroots were pruned for the last time."""
        self._call("final-prunerepo-done/", list(chroots))
