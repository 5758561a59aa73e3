"""What a configuration may not say of hosts, each answered with the remedy."""

from pathlib import Path

import pytest

from backend.config import load
from backend.exceptions import ConfigError


def said(top: Path, lines: str) -> str:
    """The complaint; empty if there is none."""
    path = top / "copr-be.conf"
    path.write_text(f"[backend]\n{lines}\n")
    try:
        load(path)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("group0_hosts = b1.example.org", "b1.example.org: write local or ssh://USER@HOST[:PORT]"),
        ("group0_hosts = ssh://u@b1/x", "write local or ssh://USER@HOST[:PORT]"),
        ("group0_hosts = ssh://u@b1 ssh://u@b1", "a host is named twice: give it more slots"),
        ("group0_hosts = ssh://u@b1 ssh://u@B1:22", "a host is named twice: give it more slots"),
        ("group0_hosts = local local", "a host is named twice: give it more slots"),
        ("group0_preallocate = 9\ngroup0_max_hosts = 3", "preallocate = 9: must be at most max"),
        ("group0_spawn_command = make 'x", "spawn_command: No closing quotation: correct"),
        ("group0_spawn_command = make", "terminate_command is empty: nobody could end what"),
        (
            "group0_spawn_command = make\ngroup0_terminate_command = end\n"
            "group0_resalloc_connection = http://r:1\ngroup0_resalloc_tags = a",
            "spawn_command and resalloc_connection: a group has one of them",
        ),
        ("group0_resalloc_connection = http://r:1", "resalloc_tags is empty: name the tags"),
        (
            "group0_resalloc_connection = r:1\ngroup0_resalloc_tags = a",
            "resalloc_connection: write http://HOST:PORT",
        ),
        ("[hosts]\nprefix = my farm", "[hosts] prefix: letters, digits and - only, at most 40"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, lines: str, words: str) -> None:
    assert words in said(tmp_path, lines)


@pytest.mark.parametrize(
    "lines",
    [
        "group0_hosts = local ssh://u@b1 ssh://v@b1 ssh://u@b1:2222 ssh://u@b12",
        "group0_spawn_command = a\ngroup0_terminate_command = b\ngroup0_preallocate = 1",
        "group0_resalloc_connection = https://r:1/RPC2\ngroup0_resalloc_tags = a",
        "[hosts]\nprefix = my-farm",
    ],
)
def test_what_can_be_is_not(tmp_path: Path, lines: str) -> None:
    assert said(tmp_path, lines) == ""
