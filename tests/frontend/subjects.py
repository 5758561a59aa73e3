"""The two frontends of the contract, as their users and their backend see them."""

import contextlib
import json
from typing import Any, Protocol

import urllib3

from tests.frontend.server import PASSWORD, RecordedFrontend
from tests.unit.test_web_lab import CHROOTS, Lab
from tests.unit.test_web_lab import PASSWORD as LAB_PASSWORD

FEDORA, DEBIAN = CHROOTS


class Subject(Protocol):
    """What the tests do as users; `call` is a raw request of the backend."""

    def submit(self, **more: Any) -> int: ...

    def cancel(self, build: int) -> None: ...

    def imported(self, build: int) -> None: ...

    def state(self, build: int) -> str: ...

    def chroots(self, build: int) -> dict[str, str]: ...

    def drop_chroot(self, chroot: str) -> None: ...

    def result_dir(self, build: int, chroot: str) -> str | None: ...

    def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]: ...


class Recorded:
    def __init__(self, server: RecordedFrontend) -> None:
        self.server, self.model = server, server.model
        self.model.create("admin", "hello", list(CHROOTS))

    def submit(self, **more: Any) -> int:
        source = {"url": "http://x/h.src.rpm"}
        return self.model.submit("admin", "hello", 1, source, **more).id

    def cancel(self, build: int) -> None:
        self.model.cancel(build)

    def imported(self, build: int) -> None:
        commits = {"f41": "a" * 40, "debian12": "b" * 40}
        assert self.model.import_completed({"build_id": build, "branch_commits": commits})

    def state(self, build: int) -> str:
        return self.model.builds[build].state

    def chroots(self, build: int) -> dict[str, str]:
        from tests.frontend.values import NAMES

        rows = self.model.builds[build].chroots
        return {name: NAMES[chroot.status] for name, chroot in rows.items()}

    def drop_chroot(self, chroot: str) -> None:
        self.model.projects["admin", "hello"].chroots.remove(chroot)

    def result_dir(self, build: int, chroot: str) -> str | None:
        return self.model.builds[build].chroots[chroot].result_dir

    def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        data = None
        if method == "POST":
            headers.setdefault("Content-Type", "application/json")
            headers.setdefault("Authorization", basic(PASSWORD))
            data = json.dumps(body).encode()
        url = f"{self.server.url}/backend/{path}"
        reply = urllib3.request(method, url, body=data, headers=headers, retries=False)
        return reply.status, _json(reply.data), dict(reply.headers)


class Embedded:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lab.project()

    def submit(self, **more: Any) -> int:
        return self.lab.submit(**more)

    def cancel(self, build: int) -> None:
        self.lab.api("PUT", f"/build/cancel/{build}")

    def imported(self, build: int) -> None:
        """It has the sources already."""

    def state(self, build: int) -> str:
        return self.lab.state(build)

    def chroots(self, build: int) -> dict[str, str]:
        return self.lab.chroot_states(build)

    def drop_chroot(self, chroot: str) -> None:
        rest = [name for name in CHROOTS if name != chroot]
        self.lab.api("PUT", "/project/edit/admin/hello", {"chroots": rest})

    def result_dir(self, build: int, chroot: str) -> str | None:
        items = self.lab.client.get(f"/api_3/build-chroot/list?build_id={build}").json()["items"]
        (url,) = [item["result_url"] for item in items if item["name"] == chroot]
        return str(url).rstrip("/").rpartition("/")[2] if url else None

    def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        content = None
        if method == "POST":
            headers.setdefault("Content-Type", "application/json")
            headers.setdefault("Authorization", basic(LAB_PASSWORD))
            content = json.dumps(body).encode()
        reply = self.lab.client.request(
            method, f"/backend/{path}", content=content, headers=headers
        )
        return reply.status_code, _json(reply.content), dict(reply.headers)


def basic(password: str) -> str:
    return urllib3.make_headers(basic_auth=f"user:{password}")["authorization"]


def _json(data: bytes) -> Any:
    with contextlib.suppress(ValueError):
        return json.loads(data)
    return None
