"""Who got which repomd.xml gets the signature that belongs to it."""

import asyncio
import os
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from backend.web import files, pairs
from tests.unit.test_web_lab import Client

READER = ("10.0.0.1", "dnf", "repodata")


def state(repo: Path, number: int, *, live: bool) -> None:
    """A published state, as the repository keeps it."""
    places = [repo / ".repo/states" / f"{number:08}"] + [repo / "repodata"] * live
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / pairs.REPOMD).write_text(f"state {number}")
        (place / pairs.SIGNATURE).write_text(f"signature {number}")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def get(found: pairs.Pairs, repo: Path) -> str | None:
    directory = os.open(repo / "repodata", os.O_RDONLY)
    try:
        fd = found.other(READER, directory)
    finally:
        os.close(directory)
    if fd is None:
        return None
    with os.fdopen(fd) as file:
        return file.read()


def fetch(found: pairs.Pairs, repo: Path, reader: pairs.Reader = READER) -> None:
    with (repo / "repodata" / pairs.REPOMD).open("rb") as file:
        found.given(reader, file)
        assert file.tell() == 0


def test_the_signature_is_that_of_the_state_that_was_fetched(tmp_path: Path) -> None:
    clock = Clock()
    found = pairs.Pairs(clock)
    state(tmp_path, 1, live=True)
    assert get(found, tmp_path) is None
    fetch(found, tmp_path)
    assert get(found, tmp_path) is None  # that of the live state will do
    state(tmp_path, 2, live=True)
    assert get(found, tmp_path) == "signature 1"
    fetch(found, tmp_path, ("10.0.0.2", "dnf", "repodata"))
    assert get(found, tmp_path) == "signature 1"
    clock.now += 61
    assert get(found, tmp_path) is None
    fetch(found, tmp_path)
    assert get(found, tmp_path) is None


def test_a_state_that_nobody_keeps_is_given_up(tmp_path: Path) -> None:
    found = pairs.Pairs()
    state(tmp_path, 1, live=True)
    fetch(found, tmp_path)
    state(tmp_path, 2, live=True)
    for path in (tmp_path / ".repo/states/00000001").iterdir():
        path.unlink()
    assert get(found, tmp_path) is None
    (tmp_path / ".repo").rename(tmp_path / "elsewhere")
    assert get(found, tmp_path) is None
    (tmp_path / ".repo").symlink_to("elsewhere")
    state(tmp_path, 1, live=False)
    assert get(found, tmp_path) is None  # through no symbolic link


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_MOST", 3)
    found = pairs.Pairs()
    state(tmp_path, 1, live=True)
    for number in range(10):
        fetch(found, tmp_path, (f"10.0.0.{number}", "", ""))
    assert len(found._seen) == 3


def test_over_http(tmp_path: Path) -> None:
    repo = tmp_path / "jdoe/p/fedora-41-x86_64"
    app = FastAPI()

    @app.get("/results/{path:path}")
    def results(path: str, request: Request) -> Response:
        return files.serve(tmp_path, path, request, "/results")

    base = "/results/jdoe/p/fedora-41-x86_64/repodata"
    state(repo, 1, live=True)
    with asyncio.Runner() as runner:
        client = Client(runner, app)
        assert client.get(f"{base}/repomd.xml").text == "state 1"
        state(repo, 2, live=True)
        assert client.get(f"{base}/repomd.xml.asc").text == "signature 1"
        other = {"User-Agent": "another"}
        assert client.get(f"{base}/repomd.xml.asc", headers=other).text == "signature 2"
        assert client.get(f"{base}/repomd.xml").text == "state 2"
        assert client.get(f"{base}/repomd.xml.asc").text == "signature 2"
