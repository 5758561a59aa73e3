"""Publishing under fire: readers at the same time, several publishers, SIGKILL."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.exceptions import Stopped
from backend.locks import exclusive
from backend.repo import compare
from backend.repo.states import known
from backend.repo.tickets import Ticket, Wish, waiting
from backend.repository import Manners, publish, retract
from tests.conftest import wait_until
from tests.integration.repositories import add, build_packages, hidden, listed, references

pytestmark = [pytest.mark.createrepo, pytest.mark.rpmbuild]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return build_packages(tmp_path_factory.mktemp("rpms"))


class Reader:
    """Reads the repository again and again, and notes the states that it has seen."""

    def __init__(self, repo: Path) -> None:
        self.repo, self.seen = repo, set[bytes]()

    def live(self) -> bytes:
        return (self.repo / "repodata/repomd.xml").read_bytes()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            content = self.live()
            for href in references(content).values():
                if not (self.repo / href).exists():
                    # Two publishes later is too late; while it is live it must be complete.
                    assert self.live() != content, href
            self.seen.add(content)
            stop.wait(0.001)


def test_readers_never_see_half_a_state(tmp_path: Path, packages: dict[str, list[Path]]) -> None:
    """What a repomd.xml refers to is there while that repomd.xml is the live one, or the last."""
    repo = tmp_path
    result = add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    rounds = 16
    stop = threading.Event()

    def writer() -> None:
        for number in range(rounds):
            if number % 2:
                (result / "success").write_text("done\n")
            else:
                (result / "success").unlink()
            add(repo, f"1{number:07}-w", packages["world"][:1])
            publish(repo)
            if number % 4 == 3:  # now and then everybody has read it before the next one
                new = readers[0].live()
                wait_until(lambda new=new: all(new in reader.seen for reader in readers))  # type: ignore[misc]

    readers = [Reader(repo) for _ in range(2)]
    with ThreadPoolExecutor(3) as pool:
        reading = [pool.submit(reader.run, stop) for reader in readers]
        try:
            pool.submit(writer).result(300)
        finally:
            stop.set()
        for future in reading:
            future.result(100)
    assert all(len(reader.seen) >= rounds / 4 for reader in readers)
    assert len(listed(repo)) == 2 + rounds
    kept = {path.name for state in known(repo) for path in state.files()} | {"repomd.xml"}
    assert {path.name for path in (repo / "repodata").iterdir()} == kept


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
import os, signal, sys
from pathlib import Path
from backend.repo import compare
from backend.repository import publish

compare.SCAN_BELOW = 0
# Each line on stdin is a repository, a build and a number: a child publishes, and is killed right
# before it changes something on disk for that time.
for line in sys.stdin:
    repo, build, left = line.split()
    child = os.fork()
    if child == 0:
        left = int(left)
        def deadly(call):
            def wrapped(*args, **more):
                global left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **more)
            return wrapped
        for name in ("rename", "replace", "link", "unlink", "mkdir", "rmdir", "fsync"):
            setattr(os, name, deadly(getattr(os, name)))
        publish(Path(repo), build=build)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def killed() -> Iterator[Callable[[Path, str, int], int]]:
    """Publishes a build until it has changed so much; the exit code."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2], text=True,
    ) as server:  # fmt: skip
        assert server.stdin
        assert server.stdout
        talk, listen = server.stdin, server.stdout

        def publish_until(repo: Path, build: str, left: int) -> int:
            talk.write(f"{repo} {build} {left}\n")
            talk.flush()
            return int(listen.readline())

        yield publish_until
        talk.close()


def test_killed_at_any_change_readers_see_a_whole_state_and_the_next_cleans_up(
    tmp_path: Path,
    packages: dict[str, list[Path]],
    killed: Callable[[Path, str, int], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compare, "SCAN_BELOW", 0)  # as in a large repository
    repo = tmp_path / "repo"
    add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    code, moments, early = -signal.SIGKILL, 0, 0
    while code == -signal.SIGKILL:
        build = add(repo, f"1{moments:07}-world", packages["world"][:1], success=False)
        before = listed(repo)
        code = killed(repo, build.name, moments)
        now = listed(repo)
        new = {f"{build.name}/{rpm.name}" for rpm in packages["world"][:1]}
        assert now in (before, before | new)
        for href in references((repo / "repodata/repomd.xml").read_bytes()).values():
            assert (repo / href).exists()
        # What was marked is not lost, though nobody asks for it again.
        other = add(repo, f"2{moments:07}-w", packages["world"][:1], success=False)
        publish(repo, build=other.name)
        marked = (build / "success").exists()
        assert listed(repo) - before - new == {f"{other.name}/{packages['world'][0].name}"}
        assert (new <= listed(repo)) == marked
        assert hidden(repo) == []
        early += not marked
        moments += 2
    assert code == 0
    assert moments > 20
    assert early > 1, "killed before the mark"
    assert early < moments / 2 - 5, "and after it"


def test_a_publisher_killed_while_createrepo_runs_leaves_no_lock(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    repo = tmp_path / "repo"
    add(repo, "00000001-hello", packages["hello"])
    publish(repo)
    add(repo, "00000002-world", packages["world"])
    fake = tmp_path / "fake"
    fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 60\n")
    fake.chmod(0o755)
    script = (
        "import sys; from pathlib import Path; from backend import repository;"
        " from backend.repo import chunks, describe; chunks.find = lambda _: sys.argv[2];"
        " describe.FEW = 0;"
        " repository.publish(Path(sys.argv[1]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(repo), str(fake)], cwd=Path(__file__).parents[2]
    ) as child:
        wait_until((tmp_path / "started").exists, 20)
        child.send_signal(signal.SIGKILL)
        child.wait(100)
    assert hidden(repo), "the killed publisher left its directory"
    assert len(listed(repo)) == 2
    publish(repo, manners=Manners(patience=100))
    assert len(listed(repo)) == 4
    assert hidden(repo) == []


def test_who_waits_is_served_by_whoever_publishes_first(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    names = [f"{number:08}-world" for number in range(30)]
    for name in names:
        add(tmp_path, name, packages["world"][:1], success=False)
    with ThreadPoolExecutor(len(names)) as pool:
        with exclusive(tmp_path / ".repo.lock", who="the test"):
            done = [pool.submit(publish, tmp_path, build=name) for name in names]
            wait_until(lambda: len(waiting(tmp_path / ".repo/queue")) == len(names), 60)
        for future in done:
            future.result(200)
    assert len(listed(tmp_path)) == len(names)
    assert all((tmp_path / name / "success").exists() for name in names)
    assert len(known(tmp_path)) == 1, "one run for all"
    assert hidden(tmp_path) == []


def test_a_waiter_who_is_canceled_is_not_published_and_one_who_is_dropped_asks_again(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    build = add(tmp_path, "00000001-world", packages["world"], success=False)
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise Stopped("a newer start has taken over")

    with ThreadPoolExecutor(2) as pool:
        with exclusive(tmp_path / ".repo.lock", who="the test"):
            done = pool.submit(publish, tmp_path, build=build.name, manners=Manners(check=check))
            wait_until(lambda: len(waiting(tmp_path / ".repo/queue")) == 1, 60)
            stopped.set()
            with pytest.raises(Stopped):
                done.result(200)
        publish(tmp_path)
        assert listed(tmp_path) == set()
        stopped.clear()
        with exclusive(tmp_path / ".repo.lock", who="the test"):
            done = pool.submit(publish, tmp_path, build=build.name, manners=Manners(check=check))
            wait_until(lambda: len(waiting(tmp_path / ".repo/queue")) == 1, 60)
            gone = pool.submit(retract, tmp_path, build.name)
            wait_until(lambda: len(waiting(tmp_path / ".repo/queue")) == 2, 60)
            stopped.set()
        gone.result(200)
        with pytest.raises(Stopped):
            done.result(200)
    assert listed(tmp_path) == set()
    assert not (build / "success").exists()


def test_a_waiter_whose_leader_is_killed_goes_on_by_itself(
    tmp_path: Path, packages: dict[str, list[Path]], killed: Callable[[Path, str, int], int]
) -> None:
    """The leader had taken its wish, too."""
    first = add(tmp_path, "00000001-world", packages["world"], success=False)
    second = add(tmp_path, "00000002-hello", packages["hello"], success=False)
    queue = tmp_path / ".repo/queue"
    with Ticket(queue, Wish(mark=second.name)) as ticket:
        for moment in range(100):
            if killed(tmp_path, first.name, moment) == 0 or ticket.taken:
                break
        assert ticket.taken
        assert ticket.answer is None
    publish(tmp_path, build=second.name)
    assert {name.partition("/")[0] for name in listed(tmp_path)} >= {second.name}
    assert hidden(tmp_path) == []
