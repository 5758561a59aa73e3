"""Following a log: offsets, attempts, compression, many readers."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

from backend.web import live, tailer
from backend.web.tailer import Tailers, whole


def test_characters_are_not_cut() -> None:
    text = "aé€😀".encode()
    for cut in range(len(text) + 1):
        head = whole(text[:cut])
        assert text.startswith(head)
        head.decode()
        assert cut - len(head) < 4
    assert whole(b"\x80\x80\x80\x80\x80") == b"\x80\x80\x80\x80\x80"


async def take(events: AsyncIterator[bytes], until: bytes) -> tuple[str, int]:
    """The text that arrives up to the event that contains `until`, and the last offset."""
    text, offset = "", 0
    async for raw in events:
        for part in raw.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in part.split("\n") if ": " in line)
            if "event" not in fields and "data" in fields:
                text += json.loads(fields["data"])
                offset = int(fields["id"])
        if until in raw:
            return text, offset
    raise AssertionError(text)


def test_many_readers_see_all_of_a_log_that_grows_and_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "builder-live.log"
    path.write_text("first\n")
    whole_text = "first\nsecond\n" + "x" * 3 * tailer.PIECE + "€ end\n"

    async def scene() -> None:
        tailers = Tailers()
        readers = [live.stream(tailers, path, 0) for _ in range(50)]
        for reader in readers:
            assert await take(reader, b"first") == ("first\n", 6)
        assert tailers.paths == [path]
        with path.open("a") as file:
            file.write("second\n")
        for reader in readers:
            assert await take(reader, b"second") == ("second\n", 13)
        (tmp_path / "builder-live.log.gz").write_bytes(gzip.compress(whole_text.encode()))
        path.unlink()
        for reader in readers:
            text, offset = await take(reader, b"event: end")
            assert text == whole_text[13:]
            assert offset == len(whole_text.encode())
        assert tailers.paths == []

    asyncio.run(scene())


def test_another_attempt_begins_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "builder-live.log"
    path.write_text("a long first attempt\n")

    async def scene() -> None:
        reader = live.stream(Tailers(), path, 0)
        await take(reader, b"first")
        path.rename(tmp_path / "old")
        path.write_text("second\n")
        await take(reader, b"event: restart")
        assert (await take(reader, b"second"))[0] == "second\n"

    asyncio.run(scene())


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "builder-live.log").symlink_to("secret")

    async def scene() -> None:
        reader = live.stream(Tailers(), tmp_path / "builder-live.log", 0)
        assert (await take(reader, b"event: end"))[0] == ""

    asyncio.run(scene())
