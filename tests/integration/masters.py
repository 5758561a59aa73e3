"""What tests ask of a master and its children."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import redis

from tests.conftest import wait_until
from tests.integration.farm import Farm
from tests.procs import stat


def workers(farm: Farm) -> list[int]:
    return farm.titled("copr-be: worker")


def said(farm: Farm, text: str) -> int:
    return farm.stderr.count(text)


def starts(farm: Farm, text: str) -> Callable[[], bool]:
    return lambda: said(farm, text) > 0


@contextlib.contextmanager
def redis_server(top: Path, port: int, socket: str = "") -> Iterator["redis.Redis"]:
    """A Redis, until the block is left, and a client; `socket` for one on a unix socket."""
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(top)]
    command += ["--unixsocket", socket] if socket else []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        where = {"unix_socket_path": socket} if socket else {"port": port}
        client = redis.Redis(**where, decode_responses=True)
        try:
            wait_until(partial(answers, client), 20, "redis-server")
            yield client
        finally:
            client.close()
            server.kill()


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def state(pid: int) -> str:
    return stat(pid)[0]


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="farm-") as top:
        yield Path(top)
