"""A frontend in this process, and the requests that its users and its backend make."""

import asyncio
import configparser
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from backend.config import Config, load
from backend.explain import Explain, nothing
from backend.farmview import Look, nobody
from backend.web.app import create_app
from backend.web.setup import first_start

CHROOTS = ("fedora-41-x86_64", "debian-12-x86_64")
PASSWORD = "s3cret"
SRPM = b"\xed\xab\xee\xdb\x03\x00\x00\x01\x00\x01hello-2.8-1" + bytes(200)


def make_config(root: Path, **overrides: str) -> Config:
    (root / "be.conf").write_text("[backend]\n")
    places = {f"backend.{key}": str(root / key) for key in ("destdir", "statedir", "rundir")}
    return load(root / "be.conf", places | {k.replace("__", "."): v for k, v in overrides.items()})


def token_of(config: Config) -> tuple[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(config.web_cli_config)
    return parser["copr-cli"]["login"], parser["copr-cli"]["token"]


class Client:
    """Requests to an application in this process, one at a time."""

    def __init__(self, runner: asyncio.Runner, app: FastAPI) -> None:
        self._runner = runner
        transport = httpx.ASGITransport(app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://lab")

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **more))

    def forget_cookies(self) -> None:
        self._client.cookies.clear()

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)

    def put(self, path: str, **more: Any) -> httpx.Response:
        return self.request("PUT", path, **more)


def refused(reply: httpx.Response, status: int, text: str) -> None:
    """The request was answered so, and with that in the error."""
    assert reply.status_code == status, reply.text
    assert text in reply.json()["error"]


class Lab:
    """`api` speaks as the admin user, `back` as the backend."""

    def __init__(self, client: Client, config: Config, wakes: list[str], app: FastAPI) -> None:
        self.client, self.config, self.wakes, self.app = client, config, wakes, app
        self.auth = token_of(config)

    def api(self, method: str, path: str, body: object = None, **more: Any) -> httpx.Response:
        return self.client.request(method, f"/api_3{path}", json=body, auth=self.auth, **more)

    def back(self, path: str, body: object = None) -> Any:
        if body is None:
            reply = self.client.get(f"/backend/{path}/")
        else:
            reply = self.client.post(f"/backend/{path}/", json=body, auth=("user", PASSWORD))
        assert reply.status_code == 200, reply.text
        assert reply.headers["Copr-FE-BE-API-Version"] == "9"
        return reply.json()

    def project(self, name: str = "hello", **more: Any) -> dict[str, Any]:
        reply = self.api("POST", "/project/add/admin", {"name": name, **more})
        assert reply.status_code == 200, reply.text
        project: dict[str, Any] = reply.json()
        return project

    def submit(self, project: str = "hello", **more: Any) -> int:
        body = {"ownername": "admin", "projectname": project, "pkgs": ["http://x/h.src.rpm"]}
        reply = self.api("POST", "/build/create/url", body | more)
        assert reply.status_code == 200, reply.text
        number: int = reply.json()["items"][0]["id"]
        return number

    def upload(self, data: bytes = SRPM, name: str = "hello-2.8-1.src.rpm") -> httpx.Response:
        fields = {"ownername": "admin", "projectname": "hello"}
        files = {
            "pkgs": (name, data, "application/x-rpm"),
            "json": ("json", json.dumps(fields).encode(), "application/json"),
        }
        return self.api("POST", "/build/create/upload", files=files)

    def report(self, build: int, chroot: str | None = None, **values: Any) -> None:
        task = f"{build}-{chroot}" if chroot else str(build)
        where = f"{build:08d}-hello" if chroot else f"{build:08d}"
        record = {
            "id": build,
            "build_id": build,
            "task_id": task,
            "chroot": chroot or "srpm-builds",
            "result_dir": where,
        }
        self.back("update", {"builds": [record | values]})

    def source_done(self, build: int, **values: Any) -> None:
        url = f"http://x/{build}.src.rpm"
        given: dict[str, Any] = {
            "status": 1,
            "pkg_name": "hello",
            "pkg_version": "2.8-1",
            "srpm_url": url,
        }
        self.report(build, **(given | values))

    def tasks(self) -> list[str]:
        return [record["task_id"] for record in self.back("pending-jobs")]

    def state(self, build: int) -> str:
        state: str = self.client.get(f"/api_3/build/{build}").json()["state"]
        return state

    def chroot_states(self, build: int) -> dict[str, str]:
        items = self.client.get(f"/api_3/build-chroot/list?build_id={build}").json()["items"]
        return {item["name"]: item["state"] for item in items}


@contextmanager
def running_lab(
    root: Path,
    chroots: tuple[str, ...] = CHROOTS,
    explain: Explain = nothing,
    look: Look = nobody,
    **overrides: str,
) -> Iterator[Lab]:
    config = make_config(root, **overrides)
    first_start(config)
    wakes: list[str] = []

    def wake(why: str, tasks: list[dict[str, Any]]) -> None:
        if why != "action":  # creating a project wakes the actions' process
            wakes.append(" ".join([why, *(task["task_id"] for task in tasks)]))

    app = create_app(
        config, password=PASSWORD, chroots=chroots, wake=wake, explain=explain, look=look
    )
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield Lab(Client(runner, app), config, wakes, app)
        finally:
            runner.run(lifespan.__aexit__(None, None, None))
