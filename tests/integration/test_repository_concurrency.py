"""Publishing under fire: readers at the same time, several publishers, SIGKILL."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.repository import Manners, publish
from tests.conftest import wait_until
from tests.integration.repositories import add, build_packages, hidden, listed, references

pytestmark = [pytest.mark.createrepo, pytest.mark.rpmbuild]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return build_packages(tmp_path_factory.mktemp("rpms"))


def read_until(stop: threading.Event, repo: Path) -> tuple[int, int]:
    """Read the repository again and again; returns the number of reads and of states seen."""
    reads, states, last = 0, 0, b""
    while not stop.is_set():
        content = (repo / "repodata/repomd.xml").read_bytes()
        states += content != last
        last = content
        for href in references(content).values():
            if not (repo / href).exists():
                # Two publishes later is too late; while it is live it must be complete.
                assert (repo / "repodata/repomd.xml").read_bytes() != content, href
        reads += 1
    return reads, states


def test_readers_never_see_half_a_state(tmp_path: Path, packages: dict[str, list[Path]]) -> None:
    """What a repomd.xml refers to is there while that repomd.xml is the live one, or the last."""
    repo = tmp_path
    result = add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    rounds = 40
    stop = threading.Event()

    def writer() -> None:
        for number in range(rounds):
            if number % 2:
                (result / "success").write_text("done\n")
            else:
                (result / "success").unlink()
            add(repo, f"1{number:07}-w", packages["world"][:1])
            publish(repo)

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read_until, stop, repo) for _ in range(2)]
        try:
            pool.submit(writer).result(60)
        finally:
            stop.set()
        for reads, states in (future.result(10) for future in readers):
            assert reads >= rounds
            assert states > rounds / 2
    assert len(listed(repo)) == 2 + rounds
    assert len(list((repo / "repodata").glob("*primary*"))) == 2


def test_concurrent_publishers_end_with_everything_listed(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    def build(number: int) -> None:
        add(tmp_path, f"{number:08}-world", packages["world"])
        publish(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(build, range(16)))
    assert len(listed(tmp_path)) == 32
    assert hidden(tmp_path) == []


KILLED = """
import sys
from pathlib import Path
from backend import repository
if sys.argv[2] == "createrepo":
    repository.find = lambda name: sys.argv[3]
else:
    sync, count = repository.sync, iter(range(100))
    def stuck(path):
        sync(path)
        if next(count) == int(sys.argv[2]):
            print("here", flush=True)
            sys.stdin.read()
    repository.sync = stuck
repository.publish(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["createrepo", "0", "1", "2", "3", "4", "5"])
def test_a_killed_publisher_leaves_the_old_state_and_the_next_cleans_up(
    tmp_path: Path, packages: dict[str, list[Path]], moment: str
) -> None:
    repo = tmp_path / "repo"
    add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    add(repo, "00000002-world", packages["world"])
    fake = tmp_path / "fake"
    fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 60\n")
    fake.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(repo), moment, str(fake)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as child:  # fmt: skip
        if moment == "createrepo":
            wait_until((tmp_path / "started").exists, 20)
        else:
            assert child.stdout
            assert child.stdout.readline() == b"here\n"
        child.send_signal(signal.SIGKILL)
        child.wait(100)
    assert hidden(repo), "the killed publisher left its directory"
    assert len(listed(repo)) == (4 if moment == "5" else 2)
    for href in references((repo / "repodata/repomd.xml").read_bytes()).values():
        assert (repo / href).exists()
    publish(repo, manners=Manners(patience=60))  # the lock died with its holder
    assert len(listed(repo)) == 4
    assert hidden(repo) == []
