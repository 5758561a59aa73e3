"""Wake messages: read back as they were, and "fetch now" when they cannot be."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.wake import MAX_AGE, MAX_TASKS, Wake, decode, encode
from tests.unit.test_core_values import pending

RECORD = {
    "task_id": "7-fedora-41-x86_64",
    "build_id": 7,
    "project_owner": "jdoe",
    "sandbox": "jdoe/hello--jdoe",
    "background": False,
    "chroot": "fedora-41-x86_64",
    "tags": [],
    "allow_user_ssh": False,
}


def test_new_tasks_travel_with_the_message() -> None:
    wake = decode(encode("new", [RECORD]), time.time())
    assert wake.tasks == (pending("7-fedora-41-x86_64", sandbox="jdoe/hello--jdoe"),)
    assert not wake.fetch


def test_an_ended_task_is_named() -> None:
    assert decode(encode("free", ended="7"), 0.0) == Wake(why="free", ended="7")


@pytest.mark.parametrize("why", ["cancel", "outbox", "free", "dead", "drain"])
def test_plain_words_are_understood(why: str) -> None:
    assert decode(why, 0.0) == Wake(why=why) == decode(encode(why), 0.0)


def test_new_without_tasks_means_fetch() -> None:
    assert decode(encode("new"), 0.0).fetch
    many = [RECORD] * (MAX_TASKS + 1)
    assert decode(encode("new", many), time.time()).fetch


def test_an_old_message_is_not_believed() -> None:
    """A task of a message that was held up may have been built since."""
    text = encode("new", [RECORD])
    assert decode(text, time.time() + MAX_AGE + 1).fetch
    assert decode(text, time.time() - 5).fetch


@pytest.mark.parametrize(
    "text",
    [
        *("", "hello", "[]", "1", "null", '{"why": 1}'),
        '{"why": "new", "tasks": 1, "when": 0}',
        json.dumps({"why": "new", "tasks": [{"task_id": "x"}], "when": 0}),
    ],
)
def test_what_cannot_be_read_means_fetch(text: str) -> None:
    assert decode(text, 0.0).fetch


@given(st.text() | st.from_type(dict).map(str))
def test_nothing_makes_it_fail(text: str) -> None:
    decode(text, 0.0)
