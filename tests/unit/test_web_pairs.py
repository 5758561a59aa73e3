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


def publish(repo: Path, number: int) -> None:
    """A signed state, in a new directory, as publishers exchange it."""
    new = repo / f"new-{number}"
    new.mkdir(parents=True)
    (new / pairs.REPOMD).write_text(f"state {number}")
    (new / pairs.SIGNATURE).write_text(f"signature {number}")
    live = repo / "repodata"
    if live.exists():
        live.rename(repo / f"old-{number}")
    new.rename(live)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fetch(found: pairs.Pairs, repo: Path, reader: pairs.Reader = READER) -> None:
    directory = os.open(repo / "repodata", os.O_RDONLY)
    file = os.open(pairs.REPOMD, os.O_RDONLY, dir_fd=directory)
    try:
        assert found.given(reader, directory, file)
    finally:
        os.close(file)
        os.close(directory)


def test_the_signature_is_that_of_the_state_that_was_fetched(tmp_path: Path) -> None:
    clock = Clock()
    found = pairs.Pairs(clock)
    publish(tmp_path, 1)
    assert found.signature(READER) is None
    fetch(found, tmp_path)
    publish(tmp_path, 2)
    fetch(found, tmp_path, ("10.0.0.2", "dnf", "repodata"))
    assert found.signature(READER) == b"signature 1"
    clock.now += 61
    assert found.signature(READER) is None
    fetch(found, tmp_path)
    assert found.signature(READER) == b"signature 2"


def test_the_directory_is_the_one_that_was_opened(tmp_path: Path) -> None:
    found = pairs.Pairs()
    publish(tmp_path, 1)
    directory = os.open(tmp_path / "repodata", os.O_RDONLY)
    file = os.open(pairs.REPOMD, os.O_RDONLY, dir_fd=directory)
    publish(tmp_path, 2)
    assert found.given(READER, directory, file)
    assert found.signature(READER) == b"signature 1"
    (tmp_path / "old-2" / pairs.REPOMD).unlink()  # and the publisher has tidied up
    assert not found.given(READER, directory, file)
    os.close(directory)
    directory = os.open(tmp_path / "repodata", os.O_RDONLY)
    assert not found.given(READER, directory, file)
    os.close(file)
    os.close(directory)


def test_without_a_signature_nothing_is_remembered(tmp_path: Path) -> None:
    found = pairs.Pairs()
    publish(tmp_path, 1)
    fetch(found, tmp_path)
    (tmp_path / "repodata" / pairs.SIGNATURE).unlink()
    fetch(found, tmp_path)
    assert found.signature(READER) is None
    (tmp_path / "repodata" / pairs.SIGNATURE).symlink_to("/etc/passwd")
    fetch(found, tmp_path)
    assert found.signature(READER) is None


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_MOST", 3)
    found = pairs.Pairs()
    publish(tmp_path, 1)
    for number in range(10):
        fetch(found, tmp_path, (f"10.0.0.{number}", "", ""))
    assert len(found._given) == 3
    assert found.signature(("10.0.0.9", "", "")) == b"signature 1"


def test_over_http(tmp_path: Path) -> None:
    repo = tmp_path / "jdoe/p/fedora-41-x86_64"
    app = FastAPI()

    @app.get("/results/{path:path}")
    def results(path: str, request: Request) -> Response:
        return files.serve(tmp_path, path, request, "/results")

    base = "/results/jdoe/p/fedora-41-x86_64/repodata"
    publish(repo, 1)
    with asyncio.Runner() as runner:
        client = Client(runner, app)
        assert client.get(f"{base}/repomd.xml").text == "state 1"
        publish(repo, 2)
        assert client.get(f"{base}/repomd.xml.asc").text == "signature 1"
        other = {"User-Agent": "another"}
        assert client.get(f"{base}/repomd.xml.asc", headers=other).text == "signature 2"
        assert client.get(f"{base}/repomd.xml").text == "state 2"
        assert client.get(f"{base}/repomd.xml.asc").text == "signature 2"
