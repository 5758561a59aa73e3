"""Every kind of `redis_url` makes connections: the options must fit the kind."""

from pathlib import Path

import pytest

from backend.config import load
from backend.redis_server import connect


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("", "UnixDomainSocketConnection"),
        ("unix:///run/redis.sock?db=2", "UnixDomainSocketConnection"),
        ("redis://:secret@localhost:6379/0", "Connection"),
        ("rediss://localhost:6379/0", "SSLConnection"),
    ],
)
def test_each_scheme_has_its_connection(tmp_path: Path, url: str, kind: str) -> None:
    path = tmp_path / "copr-be.conf"
    path.touch()
    pool = connect(load(path, {"backend.redis_url": url}), timeout=7).connection_pool
    connection = pool.make_connection()
    assert type(connection).__name__ == kind
    assert getattr(connection, "socket_timeout", 0) == 7
