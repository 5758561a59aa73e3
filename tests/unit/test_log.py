"""The log process: nothing lost, nothing twice, whatever happens to files, disk and Redis."""

import errno
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import fakeredis
import pytest

from backend import constants
from backend.config import Config
from backend.daemons import log
from backend.daemons.log import LogFile, LogWriter, Mark, journal, last_word, line
from backend.events import FULL, Event, Events


class Bench:
    """A stream, a directory, and writers on them: a new one is the process after a kill."""

    def __init__(self, top: Path) -> None:
        self.client: Any = fakeredis.FakeRedis(decode_responses=True)
        self.events = Events(self.client, "main")
        self.path = top / "backend.log"
        self.config = cast(Config, SimpleNamespace(log_dir=top, log_level="info"))
        self.seen: list[str] = []
        self.writer = self.another()

    def another(self, echo: Any = None) -> LogWriter:
        return LogWriter(self.config, self.client, echo, [self.sink])

    def sink(self, events: Sequence[Event]) -> None:
        self.seen += [event.what for event in events]

    def emit(self, *texts: str) -> None:
        for text in texts:
            self.events.emit(text)

    def texts(self, path: Path | None = None) -> list[str]:
        return [row.partition(" main: ")[2] for row in (path or self.path).read_text().splitlines()]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(log, "PAUSE", 0.0)
    return Bench(tmp_path)


def test_events_are_lines_and_debug_is_left_out(bench: Bench) -> None:
    bench.events.emit("build 7-a-1-x86_64: running")
    bench.events.emit("detail", "debug")
    bench.events.emit("two\nlines", "error")
    assert len(bench.writer.once(0.01)) == 3
    first, second, third = bench.path.read_text().splitlines()
    assert first.endswith("Z INFO    main: build 7-a-1-x86_64: running")
    assert second.endswith("Z ERROR   main: two")
    assert third == "    lines"
    assert bench.seen == ["build 7-a-1-x86_64: running", "detail", "two\nlines"]


@pytest.mark.parametrize("keep", [0, 1, 40, 60, 10_000])
def test_a_kill_after_writing_loses_nothing_and_doubles_nothing(bench: Bench, keep: int) -> None:
    """`keep` bytes of the batch reached the file before the kill; the mark was not moved."""
    bench.emit("before")
    bench.writer.once(0.01)
    mark = bench.client.get(constants.LOGGED_KEY)
    whole = bench.path.stat().st_size
    bench.emit("one", "two", "three")
    bench.writer.once(0.01)
    os.truncate(bench.path, min(bench.path.stat().st_size, whole + keep))
    bench.client.set(constants.LOGGED_KEY, mark)
    bench.emit("four")
    bench.another().once(0.01)
    assert bench.texts() == ["before", "one", "two", "three", "four"]


def test_a_smaller_batch_after_the_kill_doubles_nothing(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log")
    start = file.prepare(Mark("1"))
    assert file.append(b"one\ntwo\nthree\n", start) == 14
    second = LogFile(tmp_path / "log")
    assert second.prepare(start) == start
    assert second.append(b"one\n", start) == 4
    assert second.append(b"two\nthree\nfour\n", Mark("2", start.inode, 4)) == 19
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_what_others_appended_is_left_alone(bench: Bench) -> None:
    bench.emit("one")
    bench.writer.once(0.01)
    with bench.path.open("a") as file:
        file.write("x main: by hand\n")
    bench.emit("two")
    bench.writer.once(0.01)
    assert bench.texts() == ["one", "by hand", "two"]


def test_a_renamed_file_is_followed_by_a_new_one(bench: Bench, tmp_path: Path) -> None:
    bench.emit("one")
    bench.writer.once(0.01)
    bench.path.rename(tmp_path / "backend.log.1")
    bench.emit("two")
    bench.writer.once(0.01)
    assert bench.texts(tmp_path / "backend.log.1") == ["one"]
    assert bench.texts() == ["two"]
    bench.path.unlink()
    bench.emit("three")
    bench.writer.once(0.01)
    assert bench.texts() == ["three"]
    os.truncate(bench.path, 0)  # logrotate's copytruncate
    bench.emit("four")
    bench.writer.once(0.01)
    assert bench.texts() == ["four"]


def test_a_removed_directory_is_made_again(bench: Bench) -> None:
    bench.emit("one")
    bench.writer.once(0.01)
    shutil.rmtree(bench.path.parent)
    bench.emit("two")
    bench.writer.once(0.01)
    assert bench.texts() == ["two"]


def test_a_full_disk_is_said_once_and_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room = 60
    write = os.write

    def small_disk(fd: int, data: Any) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(fd, bytes(data)[:room])
        room -= done
        return done

    monkeypatch.setattr(os, "write", small_disk)
    bench.emit("one", "two", "three")
    for _ in range(3):
        assert bench.writer.once(0.01) == []
    bench.emit("four")
    bench.writer.once(0.01)
    assert capsys.readouterr().err.count("No space left") == 1
    room = 10_000
    bench.writer.once(0.01)
    assert bench.texts() == ["one", "two", "three", "four"]
    assert "written again" in capsys.readouterr().err


def test_a_sink_in_trouble_keeps_the_events(bench: Bench) -> None:
    def broken(_: Sequence[Event]) -> None:
        raise OSError("no room")

    bench.emit("one")
    writer = LogWriter(bench.config, bench.client, None, [broken])
    assert writer.once(0.01) == []
    bench.writer.once(0.01)
    assert bench.texts() == ["one"]


@pytest.mark.parametrize(("restarted", "left"), [(True, 1), (False, FULL)])
def test_a_gap_in_the_stream_is_mentioned(bench: Bench, restarted: bool, left: int) -> None:
    add = bench.client.xadd
    add(constants.EVENTS_KEY, {"event": '{"who": "main", "what": "one"}'}, id="1000-0")
    bench.writer.once(0.01)
    add(constants.EVENTS_KEY, {"event": '{"who": "main", "what": "two"}'}, id="2000-0")
    for number in range(left):
        what = {"event": '{"who": "main", "what": "three"}'}
        add(constants.EVENTS_KEY, what, id=f"3500-{number}")
    bench.client.xtrim(constants.EVENTS_KEY, maxlen=left, approximate=False)
    (bench.another() if restarted else bench.writer).once(0.01)
    one, gap, *threes = bench.path.read_text().splitlines()
    assert "the 2.5 s before is missing" in gap
    assert one.endswith("one")
    assert len(threes) == left


def test_a_new_stream_with_older_ids_is_read_from_its_start(bench: Bench) -> None:
    bench.emit("one")
    bench.writer.once(0.01)
    bench.client.delete(constants.EVENTS_KEY)
    bench.client.xadd(
        constants.EVENTS_KEY, {"event": '{"who": "main", "what": "two"}'}, id="1000-0"
    )
    assert bench.writer.once(0.01) == []
    bench.writer.once(0.01)
    assert bench.texts() == ["one", "two"]


def test_written_events_do_not_pile_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "EVENTS_KEEP", 100)
    for number in range(700):
        bench.emit(str(number))
    bench.writer.once(0.01)
    assert bench.client.xlen(constants.EVENTS_KEY) == 700, "200 are not written yet"
    bench.writer.once(0.01)
    assert bench.client.xlen(constants.EVENTS_KEY) < 300
    assert bench.texts() == [str(number) for number in range(700)]


def test_nothing_in_an_event_reaches_a_terminal_as_a_command() -> None:
    event = Event(when=0, who="x\n<0>y", what="\x1b[2J\rbad\udc80\n<0>fake", level="warning")
    text = line(event)
    assert text == "1970-01-01T00:00:00Z WARNING x?<0>y: ?[2J?bad?\n    <0>fake\n"
    assert text.encode()
    assert journal(event) == "<4>x\n<4><0>y: ?[2J?bad?\n<4><0>fake\n"


def test_the_journal_gets_priorities_and_no_times(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "pipe").open("w+") as stream:
        stat = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{stat.st_dev}:{stat.st_ino}")
        bench.events.emit("bad", "error")
        bench.another(stream).once(0.01)
        stream.seek(0)
        assert stream.read() == "<3>main: bad\n"


def test_a_stream_that_is_not_the_journals_gets_lines(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    echo = io.StringIO()
    bench.emit("one")
    bench.another(echo).once(0.01)
    assert echo.getvalue() == bench.path.read_text()


def test_the_last_word_is_that_of_the_own_master() -> None:
    events = [Event(when=0, who="main", what="", kind="daemon.stopped", data={"pid": 7})]
    assert last_word(events, 7)
    assert not last_word(events, 8)
    assert not last_word([], 7)
