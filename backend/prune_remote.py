"""What a real Copr frontend knows of results that may be pruned."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import urllib3

from backend.action import Action
from backend.constants import ActionType
from backend.exceptions import FrontendError, FrontendRefused, ProtocolError
from backend.frontend import Frontend
from backend.pruning import Known, Step

#: Largest record of a project that is read, in bytes.
MAX_PROJECT = 4 * 1024**2
_DONE = "its last pruning after the end of life was done"


class RemoteBooks:
    """`prune.Books` of the frontend at `url`. It asks for each project's settings in the public
    API, and for everything else in the backend's namespace."""

    def __init__(self, frontend: Frontend, url: str) -> None:
        self._frontend = frontend
        self._url = url
        self._http = urllib3.PoolManager(timeout=30.0, retries=urllib3.Retry(2, redirect=0))
        self._projects: dict[tuple[str, str], Known | str] = {}
        self._ended: dict[str, bool] | None = None

    def unfinished(self) -> frozenset[str]:
        """Everything that the frontend offers. Raises FrontendError: without it nothing goes."""
        tasks, problems = self._frontend.pending()
        if problems:
            raise FrontendError(f"pending-jobs/: {problems[0]}: not safe to prune")
        return frozenset(task.task_id for task in tasks)

    def wanted(self) -> frozenset[str]:
        """Results that waiting forks and branched releases are going to copy."""
        offered, problems = self._frontend.pending_actions()
        if problems:
            raise FrontendError(f"pending-actions/: {problems[0]}: not safe to prune")
        found: set[str] = set()
        for pending in offered:
            try:
                action = Action.from_record(self._frontend.action(pending.id), pending.id)
            except (ProtocolError, FrontendRefused):
                continue  # nobody can carry it out
            found |= _read_by(action)
        return frozenset(found)

    def known(self, owner: str, dirname: str) -> Known | str:
        """Its settings; an unknown project, and one that cannot be asked for, are left alone."""
        project = dirname.partition(":")[0]
        key = (owner, project)
        if key not in self._projects:
            self._projects[key] = self._ask(owner, project)
        return self._projects[key]

    def _ask(self, owner: str, project: str) -> Known | str:
        query = urlencode({"ownername": owner, "projectname": project})
        try:
            status, text = self._get(f"{self._url}/api_3/project?{query}")
            raw: Any = json.loads(text)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError) as error:
            return f"the frontend does not tell of it: {error}"
        if not isinstance(raw, dict) or "error" in raw or status != 200:
            words = raw.get("error") if isinstance(raw, dict) else raw
            return f"the frontend answered {status}: {str(words)[:200]}"
        auto = raw.get("auto_prune", True) is not False and not raw.get("persistent")
        done = {name: _DONE for name, is_done in self._ends().items() if is_done}
        return Known(auto=auto, devel=bool(raw.get("devel_mode")), still=done)

    def _get(self, url: str) -> tuple[int, bytes]:
        reply = self._http.request("GET", url, preload_content=False)
        try:
            text = reply.read(MAX_PROJECT + 1)
        finally:
            reply.close()
        if len(text) > MAX_PROJECT:
            raise ValueError(f"answer longer than {MAX_PROJECT} bytes")
        return reply.status, text

    def _ends(self) -> dict[str, bool]:
        if self._ended is None:
            try:
                self._ended = dict(self._frontend.chroots_to_prune())
            except FrontendRefused:  # an older frontend
                self._ended = {}
        return self._ended

    def claim(self, steps: Sequence[Step]) -> Sequence[Step]:
        """All of them: the frontend cannot be told."""
        return steps

    def gone(self, steps: Sequence[Step]) -> None:
        """The frontend keeps no account of files."""

    def chroot_gone(self, owner: str, dirname: str, chroot: str) -> None:
        """It deletes chroots by actions of its own."""

    def finished(self) -> None:
        """Chroots at their end of life were pruned for the last time."""
        last = [name for name, is_done in self._ends().items() if not is_done]
        if last:
            self._frontend.last_prune_done(last)


def _read_by(action: Action) -> set[str]:
    data = action.data if isinstance(action.data, dict) else {}
    if action.type is ActionType.FORK and isinstance(data.get("builds_map"), dict):
        return {
            f"{action.old_value}/{chroot}/{name}"
            for chroot, names in data["builds_map"].items()
            if isinstance(names, dict)
            for name in names
        }
    if action.type is ActionType.RAWHIDE_TO_RELEASE and isinstance(data.get("builds"), list):
        where = f"{data.get('ownername')}/{data.get('copr_dir')}/{data.get('rawhide_chroot')}"
        return {f"{where}/{name}" for name in data["builds"]}
    return set()
