"""Webhooks in tests: a lab with a courier whose clock only moves when told to."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.web.courier import Courier
from tests.unit.test_web_lab import CHROOTS, Lab, running_lab

FEDORA, DEBIAN = CHROOTS
URL = "https://hooks.example.org/in?x=1"
KEY = "sëcret"


class Post:
    """Notes what would be sent; answers with `answer`, a status or an error."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.raw: list[bytes] = []
        self.answer: int | Exception = 200

    async def __call__(self, url: str, fields: dict[str, str], body: bytes) -> int:
        self.sent.append((url, fields, json.loads(body)))
        self.raw.append(body)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Bench:
    """A lab with a courier of the test's own, whose clock only moves when told to."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.post = lab, Post()
        self.ctx = lab.app.state.context
        self.now = float(int(time.time()) + 1000)  # after all that happens in the test
        self.courier = Courier(self.ctx, self.post, lambda: self.now)

    def step(self) -> float:
        async def whole() -> float:
            pause = await self.courier.once()
            await asyncio.gather(*self.courier._busy.values())
            return pause

        return self.lab.client._runner.run(whole())

    def log(self, hook: int = 1) -> list[dict[str, Any]]:
        reply = self.lab.api("GET", f"/webhook/deliveries/admin/hello/{hook}")
        assert reply.status_code == 200
        items: list[dict[str, Any]] = reply.json()["items"]
        return items

    def add(self, url: str = URL, secret: str | None = KEY) -> int:
        body = {"url": url, "secret": secret}
        reply = self.lab.api("POST", "/webhook/add/admin/hello", body)
        assert reply.status_code == 200, reply.text
        number: int = reply.json()["id"]
        return number


@contextlib.contextmanager
def running_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The bench, with a project; the frontend's own courier does nothing."""

    async def nobody(_: Courier) -> None:
        pass

    monkeypatch.setattr(Courier, "run", nobody)
    with running_lab(tmp_path) as lab:
        lab.project(chroots=[FEDORA])
        yield Bench(lab)


def finished(lab: Lab, status: int = 1) -> int:
    build = lab.submit()
    lab.source_done(build)
    lab.report(build, FEDORA, status=status, failure="no rule" if not status else None)
    return build
