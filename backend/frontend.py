"""Client of the frontend's `/backend/…` namespace (protocol version 9)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import urllib3

from backend.action import PendingAction
from backend.constants import API_VERSION, API_VERSION_HEADER, ActionResult
from backend.exceptions import (
    FrontendBroken,
    FrontendError,
    FrontendRefused,
    ProtocolError,
)
from backend.job import PendingTask

#: Largest answer that is read, in bytes.
MAX_ANSWER = 64 * 1024**2
#: Not the application's own answers: it, or what stands before it, is away for a while.
_AWAY = (408, 429, 502, 503, 504)


class Frontend:
    """One frontend; raises FrontendError (try again later) or FrontendRefused (final)."""

    def __init__(self, base_url: str, password: str, *, timeout: float = 30.0) -> None:
        self._base = base_url.rstrip("/") + "/backend/"
        self._headers = urllib3.make_headers(
            basic_auth=f"user:{password}", user_agent="copr-backend"
        )
        self._pool = urllib3.PoolManager(
            maxsize=1, retries=False, timeout=urllib3.Timeout(total=timeout)
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _call(self, path: str, body: object = None) -> Any:
        url = self._base + path
        method = "GET" if body is None else "POST"
        headers = dict(self._headers)
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        try:
            reply = self._pool.request(
                method, url, body=data, headers=headers, preload_content=False
            )
            try:
                text = reply.read(MAX_ANSWER + 1)
            finally:
                reply.drain_conn()
                reply.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise FrontendError(f"{method} {url}: {error}") from error
        return self._judge(f"{method} {url}", reply, text)

    def _judge(self, what: str, reply: urllib3.BaseHTTPResponse, text: bytes) -> Any:
        if reply.status in _AWAY:
            raise FrontendError(f"{what}: the frontend answered {reply.status}")
        if reply.status >= 500:
            raise FrontendBroken(f"{what}: the frontend answered {reply.status}")
        if reply.status == 401:  # not final: nothing may be lost over a wrong setting
            raise FrontendError(f"{what}: password refused: correct frontend_auth")
        if reply.status >= 400:
            raise FrontendRefused(f"{what}: the frontend answered {reply.status}")
        version = reply.headers.get(API_VERSION_HEADER, "")
        if not version.isdigit() or int(version) < API_VERSION:
            raise FrontendError(
                f"{what}: speaks backend protocol {version or 'unknown'},"
                f" version {API_VERSION} or newer is needed: check frontend_base_url"
            )
        if len(text) > MAX_ANSWER:
            raise FrontendBroken(f"{what}: answer longer than {MAX_ANSWER} bytes")
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
        record = self._call(f"{kind}/{task_id}/")
        if record is not None and not isinstance(record, dict):
            raise FrontendBroken(f"{kind}/{task_id}/: the answer is no object")
        return record

    def starting(self, build: Mapping[str, Any]) -> bool:
        """Claim a task at the frontend; False if it was canceled or is gone."""
        answer = self._call("starting_build/", dict(build))
        return bool(isinstance(answer, dict) and answer.get("can_start"))

    def update(self, builds: Sequence[Mapping[str, Any]]) -> None:
        """Report builds; at most one object per build id in one call."""
        self._call("update/", {"builds": [dict(build) for build in builds]})

    def cancel_requests(self) -> list[str]:
        """Task ids that users want stopped and nobody has acknowledged yet."""
        answer = self._call("build-tasks/cancel-requests/")
        if not isinstance(answer, list):
            raise FrontendBroken("cancel-requests/: the answer is no list")
        return [str(task_id) for task_id in answer]

    def canceled(self, task_id: str, was_running: bool) -> None:
        """Acknowledge a cancel request."""
        self._call(f"build-tasks/canceled/{task_id}/", was_running)

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
