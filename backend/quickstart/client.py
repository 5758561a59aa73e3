"""The few calls of API v3 that the quickstart makes, as copr-cli makes them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import urllib3

from backend.exceptions import FrontendError, ProtocolError

#: States that a build does not leave again.
FINISHED = frozenset({"succeeded", "failed", "canceled", "skipped", "forked"})


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build as API v3 shows it; `repo_url` is the project's directory of results."""

    id: int
    state: str
    repo_url: str

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Self:
        """Raises ProtocolError that names what is missing."""
        try:
            return cls(id=int(raw["id"]), state=str(raw["state"]), repo_url=str(raw["repo_url"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"build from the frontend lacks a field: {error}") from error

    @property
    def finished(self) -> bool:
        """True when nothing more will happen to it."""
        return self.state in FINISHED


@dataclass(frozen=True, kw_only=True)
class BuildChroot:
    """One chroot of a build; `result_url` is empty until its build starts."""

    name: str
    state: str
    result_url: str


class Client:
    """Speaks to the frontend at `url`; every failure is a FrontendError of one line."""

    def __init__(self, url: str, *, login: str, token: str) -> None:
        self._url = url
        self._auth = urllib3.make_headers(basic_auth=f"{login}:{token}")
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=10, read=30), retries=urllib3.Retry(2, redirect=3)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.clear()

    def ensure_project(self, owner: str, name: str) -> bool:
        """Create the project with every chroot on offer; False if it is there already."""
        query = {"ownername": owner, "projectname": name}
        if self._call("GET", "project", fields=query, missing_ok=True):
            return False
        chroots = [*self._call("GET", "mock-chroots/list")]
        body = {"name": name, "chroots": chroots, "description": "First project of this Copr."}
        self._call("POST", f"project/add/{owner}", json=body, headers=self._auth)
        return True

    def submit(self, owner: str, project: str, srpm: Path) -> Build:
        """Upload a source package to be built in all chroots of the project."""
        order = json.dumps({"ownername": owner, "projectname": project}).encode()
        fields = {
            "json": ("json", order, "application/json"),
            "pkgs": (srpm.name, srpm.read_bytes(), "application/x-rpm"),
        }
        return Build.parse(
            self._call("POST", "build/create/upload", fields=fields, headers=self._auth)
        )

    def build(self, number: int) -> Build:
        """State of one build."""
        return Build.parse(self._call("GET", f"build/{number}"))

    def chroots(self, number: int) -> list[BuildChroot]:
        """State of the build in each of its chroots."""
        items = self._call("GET", "build-chroot/list", fields={"build_id": str(number)})["items"]
        return [
            BuildChroot(
                name=item["name"], state=item["state"], result_url=item.get("result_url") or ""
            )
            for item in items
        ]

    def repository(self, owner: str, project: str) -> str:
        """URL of the project's first dnf repository."""
        query = {"ownername": owner, "projectname": project}
        repos: dict[str, str] = self._call("GET", "project", fields=query)["chroot_repos"]
        if not repos:
            raise FrontendError(f"project {owner}/{project} has no chroot: add one")
        return next(iter(repos.values()))

    def check_published(self, repository: str) -> None:
        """Raises FrontendError unless dnf would find metadata at that URL."""
        url = f"{repository.rstrip('/')}/repodata/repomd.xml"
        status = self._request("GET", url).status
        if status != 200:
            raise FrontendError(f"{url} answers {status}: the repository was not published")

    def text(self, url: str, offset: int) -> bytes:
        """What a growing file has from byte `offset` on; empty if there is nothing new."""
        answer = self._request("GET", url, headers={"Range": f"bytes={offset}-"})
        if answer.status == 206:
            return answer.data
        return answer.data[offset:] if answer.status == 200 else b""

    def _call(self, method: str, path: str, *, missing_ok: bool = False, **how: Any) -> Any:
        answer = self._request(method, f"{self._url}/api_3/{path}", **how)
        if answer.status == 404 and missing_ok:
            return None
        try:
            reply = json.loads(answer.data)
        except ValueError:
            reply = {"error": f"answer {answer.status} is not JSON"}
        error = reply.get("error") if isinstance(reply, dict) else "answer is no object"
        if error:
            raise FrontendError(f"{method} /api_3/{path}: {' '.join(str(error).split())}")
        return reply

    def _request(self, method: str, url: str, **how: Any) -> urllib3.BaseHTTPResponse:
        try:
            return self._http.request(method, url, **how)
        except urllib3.exceptions.HTTPError as error:
            raise FrontendError(f"no answer from {url}: {error}") from error
