"""Pools of hosts under a real daemon; the hosts are toys, the commands real programs."""

import contextlib
import html
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import xmlrpc.client
import xmlrpc.server
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from backend import hostview
from tests.conftest import wait_until
from tests.integration.farm import Farm, running

pytestmark = pytest.mark.redis
TOYS = {
    "builder__type": "tests.integration.toyhosts:ToyBuilder",
    "hosts__transport": "tests.integration.toyhosts:connect",
    "hosts__check_interval": "1",
}
#: Makes a toy host, or does what a file in the toys' directory tells it to do instead.
CLOUD = """\
import json, os, pathlib, shutil, signal, sys
what, name, toys = sys.argv[1:]
toys = pathlib.Path(toys)
if what == "list":
    print("\\n".join(entry.name for entry in toys.iterdir() if entry.is_dir()))
elif what == "end":
    if (toys / "stuck").exists():
        sys.exit("no such luck")
    shutil.rmtree(toys / name, ignore_errors=True)
    with (toys / "ended").open("a") as file:
        file.write(name + "\\n")
else:
    mood = (toys / "mood").read_text().strip() if (toys / "mood").exists() else "good"
    with (toys / "asked").open("a") as file:
        file.write(name + "\\n")
    if mood != "fails":
        (toys / name).mkdir()
    if mood == "fails":
        sys.exit("no quota left")
    if mood == "forks" and os.fork() == 0:
        (toys / "forked").write_text(str(os.getpid()))
    if mood in ("hangs", "forks"):
        signal.pause()
    while mood == "endless":
        print("x" * 65536)
    if mood in ("same", "twin"):
        (toys / "same").mkdir(exist_ok=True)
    if mood == "same":
        name = "same"
    if mood == "twin":
        (toys / name / "is").write_text("same")
    print("garbage" if mood == "garbage" else json.dumps({"address": f"toy://u@{name}"}))
"""


def srpm(farm: Farm, name: str) -> Path:
    path = farm.top / f"{name}-1-1.src.rpm"
    path.write_bytes(bytes.fromhex("edabeedb03000001") + name.encode())
    return path


def toys(farm: Farm) -> Path:
    return farm.top / "state" / "toys"


def command(farm: Farm, *words: str) -> Any:
    argv = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), *words]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def hosts(farm: Farm) -> dict[str, Any]:
    try:
        with farm.redis as client:
            return {host["name"]: host for host in hostview.hosts(client)}
    except redis.ConnectionError:
        return {}


def why(farm: Farm, build: int) -> str:
    return " ".join(item["text"] for item in farm.api("GET", f"build/why/{build}")["items"])


def states(farm: Farm) -> list[str]:
    return sorted(host["state"] for host in hosts(farm).values())


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def log(farm: Farm) -> str:
    return (farm.top / "log" / "backend.log").read_text()


def logged(farm: Farm, words: str) -> bool:
    return words in log(farm)


def on_record(farm: Farm) -> list[str]:
    path = farm.top / "state" / "hosts" / "machines.json"
    return [entry["name"] for entry in json.loads(path.read_text())] if path.exists() else []


@pytest.fixture(scope="module")
def pair() -> Iterator[Farm]:
    options = TOYS | {"backend__group0_hosts": "toy://u@a toy://u@b"}
    with running(**options) as farm:
        for name in ("a", "b"):
            (toys(farm) / name).mkdir(parents=True)
        farm.create()
        wait_until(lambda: states(farm) == ["ready", "ready"])
        yield farm


def building(farm: Farm, name: str) -> int:
    return Counter(lines(toys(farm) / name / "journal"))["begin"]


def finished(farm: Farm, build: int) -> bool:
    return farm.state(build) in ("succeeded", "failed")


def test_builds_are_spread_and_who_waits_is_told_why(pair: Farm) -> None:
    for name in ("a", "b"):
        (toys(pair) / name / "hold").touch()
    builds = [pair.submit(srpm(pair, f"spread{i}")) for i in range(2)]
    wait_until(lambda: states(pair) == ["busy", "busy"])
    (toys(pair) / "b" / "hold").unlink()
    wait_until(lambda: states(pair) == ["busy", "ready"])
    command(pair, "host", "drain", "b", "--reason", "new disk")
    third = pair.submit(srpm(pair, "third"))
    words = "no free host in group PC: 1 busy, 1 drained: "
    wait_until(lambda: words in why(pair, third))
    told = command(pair, "why", str(third))
    assert words in told
    assert "new disk" in told
    waiting = pair.api("GET", f"build/{third}")["waiting"]
    assert "no free host in group PC" in next(iter(waiting.values()))
    page = pair.http.request("GET", f"{pair.url}/workers").data.decode()
    assert "drained" in page
    assert "new disk" in page
    assert "new disk" in command(pair, "status")
    listed = {host["name"]: host for host in json.loads(command(pair, "host", "list", "--json"))}
    assert (listed["u@b"]["state"], listed["u@a"]["state"]) == ("drained", "busy")
    command(pair, "host", "resume", "b")
    assert pair.wait(third) == "succeeded"
    (toys(pair) / "a" / "hold").unlink()
    assert [pair.wait(build) for build in builds] == ["succeeded", "succeeded"]
    info = next((pair.top / "results").rglob(f"{third:08d}-third/build.info")).read_text()
    assert "builder_ip=u@b" in info.splitlines()


def test_a_dead_workers_host_is_free_again(pair: Farm) -> None:
    for name in ("a", "b"):
        (toys(pair) / name / "hold").touch()
    build = pair.submit(srpm(pair, "killed"))
    wait_until(lambda: len(pair.titled(f"{build}-toy")) == 1)
    (worker,) = pair.titled(f"{build}-toy")
    wait_until(lambda: "busy" in states(pair))
    os.kill(worker, signal.SIGKILL)
    for name in ("a", "b"):
        (toys(pair) / name / "hold").unlink()
    assert pair.wait(build) == "succeeded"
    wait_until(lambda: states(pair) == ["ready", "ready"])
    assert pair.redis.hlen("copr-be:hosts:leases") == 0


def test_a_canceled_build_gives_its_host_back(pair: Farm) -> None:
    for name in ("a", "b"):
        (toys(pair) / name / "hold").touch()
    build = pair.submit(srpm(pair, "canceled"))
    wait_until(lambda: "busy" in states(pair))
    pair.api("PUT", f"build/cancel/{build}")
    wait_until(lambda: states(pair) == ["ready", "ready"])
    for name in ("a", "b"):
        (toys(pair) / name / "hold").unlink()


def test_the_helper_may_die_while_builds_hold_hosts(pair: Farm) -> None:
    for name in ("a", "b"):
        (toys(pair) / name / "hold").touch()
    both = building(pair, "a") + building(pair, "b") + 2
    builds = [pair.submit(srpm(pair, f"helper{i}")) for i in range(2)]
    wait_until(lambda: states(pair) == ["busy", "busy"])
    wait_until(lambda: building(pair, "a") + building(pair, "b") == both)
    (helper,) = pair.titled("hosts")
    os.kill(helper, signal.SIGKILL)
    wait_until(lambda: pair.titled("hosts") not in ([helper], []))
    wait_until(lambda: states(pair) == ["busy", "busy"])
    for name in ("a", "b"):
        (toys(pair) / name / "hold").unlink()
    assert [pair.wait(build) for build in builds] == ["succeeded", "succeeded"]
    assert building(pair, "a") + building(pair, "b") == both


def test_no_more_than_three_hosts_and_the_ill_ones_go_into_quarantine(top: Path) -> None:
    names = ["a", "b", "c", "d"]
    options = TOYS | {
        "backend__group0_hosts": " ".join(f"toy://u@{name}" for name in names),
        "hosts__quarantine_after": "1",
    }
    farm = Farm(top, **options)
    for name in names:  # before the first check, which would put them into quarantine
        (toys(farm) / name).mkdir(parents=True)
        (toys(farm) / name / "fault").touch()
    (toys(farm) / "d" / "down").touch()
    (top / "state").chmod(0o700)
    try:
        farm.start()
        farm.create()
        build = farm.submit(srpm(farm, "broken"))
        assert farm.wait(build) == "failed"
        assert [building(farm, name) for name in names] == [1, 1, 1, 0]
        answer = farm.api("GET", f"build/{build}")
        assert all(f"u@{name}: " in answer["failure"] for name in "abc")
        assert "its disk is broken" in answer["failure"]
        assert answer["triage"]["kind"] == "infrastructure"
        reasons = dict.fromkeys("abc", "its disk is broken") | {"d": "connection refused"}
        for name, why_not in reasons.items():
            text = f"host u@{name} is in quarantine: host toy://u@{name}: {why_not}"
            wait_until(partial(logged, farm, text), what=text)
        for name in "abc":
            (toys(farm) / name / "fault").unlink()
        command(farm, "host", "resume", "u@a")
        wait_until(lambda: hosts(farm)["u@a"]["state"] == "ready")
        assert farm.wait(farm.submit(srpm(farm, "well"))) == "succeeded"
        assert farm.stop() == 0
    finally:
        farm.close()


def test_a_host_that_does_not_build_for_the_chroot_is_passed_over(pair: Farm) -> None:
    (toys(pair) / "a" / "chroot").write_text(f"toy-2-{platform.machine()}")
    try:
        passed = ": host u@a failed, moving to another"
        for number in range(10):  # until one gets this host first
            build = pair.submit(srpm(pair, f"unfit{number}"))
            assert pair.wait(build) == "succeeded", log(pair)
            task = f"build {build}-toy-1-{platform.machine()}"
            wait_until(partial(logged, pair, f"{task}: succeeded"), what="all before is logged")
            if f"{task}{passed}" in log(pair):
                break
        else:
            pytest.fail("no build was given to that host")
        assert f"cannot be built there, only toy-2-{platform.machine()}" in log(pair)
        # It does what it is for, and is no worse than before.
        assert [host["faults"] for host in hosts(pair).values()] == [0, 0]
    finally:
        (toys(pair) / "a" / "chroot").unlink(missing_ok=True)


def test_a_host_of_another_architecture_is_not_used(top: Path) -> None:
    options = TOYS | {
        "backend__group0_hosts": "toy://u@a toy://u@b",
        "hosts__quarantine_after": "1",
    }
    farm = Farm(top, **options)
    for name in ("a", "b"):
        (toys(farm) / name).mkdir(parents=True)
    (toys(farm) / "a" / "chroot").write_text("toy-1-z80")
    (top / "state").chmod(0o700)
    try:
        farm.start()
        farm.create()
        wait_until(lambda: states(farm) == ["quarantined", "ready"])
        assert "it builds for z80, its group is for" in hosts(farm)["u@a"]["reason"]
        assert [farm.wait(farm.submit(srpm(farm, f"fit{i}"))) for i in range(3)] == 3 * [
            "succeeded"
        ]
        assert lines(toys(farm) / "a" / "journal") == []
        (toys(farm) / "a" / "chroot").unlink()
        command(farm, "host", "resume", "u@a")
        wait_until(lambda: states(farm) == ["ready", "ready"])
    finally:
        farm.close()


def test_a_host_that_is_listed_by_two_names_is_used_by_one(top: Path) -> None:
    options = TOYS | {
        "backend__group0_hosts": "toy://u@a toy://u@b",
        "hosts__quarantine_after": "1",
    }
    farm = Farm(top, **options)
    (toys(farm) / "a").mkdir(parents=True)
    (toys(farm) / "new").mkdir()
    (toys(farm) / "new" / "is").write_text("a")
    (top / "state").chmod(0o700)
    try:
        farm.start()
        farm.create()
        # The other comes later: which of two is the first would be chance.
        wait_until(lambda: states(farm) == ["quarantined", "ready"])
        (toys(farm) / "new").rename(toys(farm) / "b")
        command(farm, "host", "resume", "u@b")
        words = "it is toy://u@a under another name: name it once"
        wait_until(lambda: words in hosts(farm)["u@b"]["reason"], what=words)
        wait_until(lambda: states(farm) == ["quarantined", "ready"])
        assert farm.wait(farm.submit(srpm(farm, "one"))) == "succeeded"
        (toys(farm) / "b" / "is").unlink()
        command(farm, "host", "resume", "u@b")
        wait_until(lambda: states(farm) == ["ready", "ready"])
    finally:
        farm.close()


# --- machines on demand ----------------------------------------------------------------------


def cloud(tmp_path: Path, **more: str) -> dict[str, str]:
    script = tmp_path / "cloud.py"
    script.write_text(CLOUD)
    run = f"{sys.executable} {script}"
    where = tmp_path / "toys"
    where.mkdir()
    return TOYS | {
        "backend__group0_spawn_command": f"{run} make {{name}} {where}",
        "backend__group0_terminate_command": f"{run} end {{name}} {where}",
        "backend__group0_list_command": f"{run} list - {where}",
        "backend__group0_max_hosts": "2",
        "hosts__spawn_timeout": "30",
        "hosts__sweep_interval": "1",
        **more,
    }


def link_toys(farm: Farm, where: Path) -> None:
    toys(farm).symlink_to(where)


def start(tmp_path: Path, top: Path, **more: str) -> Farm:
    """Not started yet: the toys must be in place first."""
    farm = Farm(top, **cloud(tmp_path, **more))
    (top / "state").mkdir(mode=0o700)
    link_toys(farm, tmp_path / "toys")
    return farm


@pytest.fixture
def top() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="farm-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def made(where: Path) -> list[str]:
    return [entry.name for entry in where.iterdir() if entry.is_dir()]


def test_machines_are_made_kept_for_their_own_and_ended(tmp_path: Path, top: Path) -> None:
    where = tmp_path / "toys"
    farm = start(tmp_path, top, backend__group0_preallocate="1", backend__group0_max_workers="3")
    try:
        farm.start()
        farm.create("p")
        farm.create("q")
        wait_until(lambda: states(farm) == ["ready"], what="the reserve")
        (first,) = made(where)
        assert farm.wait(farm.submit(srpm(farm, "one"), "p")) == "succeeded"
        assert lines(where / first / "journal") == ["begin", "p", "end", "p"]
        wait_until(lambda: states(farm) == ["ready", "ready"], what="the reserve again")
        assert farm.wait(farm.submit(srpm(farm, "two"), "q")) == "succeeded"
        assert farm.wait(farm.submit(srpm(farm, "three"), "p")) == "succeeded"
        journals = [set(lines(path)) - {"begin", "end"} for path in where.glob("*/journal")]
        assert sorted(map(sorted, journals)) == [["p"], ["q"]]
        # A third project: both machines are somebody else's, so one makes room.
        farm.create("r")
        assert farm.wait(farm.submit(srpm(farm, "four"), "r")) == "succeeded"
        assert len(made(where)) <= 2
        name = next(host["name"] for host in hosts(farm).values() if host["sandbox"])
        command(farm, "host", "remove", name)
        wait_until(lambda: name in lines(where / "ended"))
        wait_until(lambda: name not in hosts(farm))
        # What lives at a clean stop is on record, and nothing is in Redis.
        kept = set(on_record(farm))
        assert farm.stop() == 0
        assert set(on_record(farm)) <= kept | set(made(where))
        farm.start()
        wait_until(lambda: "ready" in states(farm), what="adopted, or made anew")
        wait_until(lambda: sorted(made(where)) == sorted(on_record(farm)))
    finally:
        farm.close()


MOODS = {
    "fails": "exit code 1: no quota left",
    "garbage": "it printed 'garbage'",
    "hangs": "did not end within 2 s",
    "endless": "printed more than",
}


def test_bad_spawn_commands_are_bounded_reported_and_swept(tmp_path: Path, top: Path) -> None:
    where = tmp_path / "toys"
    farm = start(tmp_path, top, hosts__spawn_timeout="2")
    try:
        farm.start()
        for mood, words in MOODS.items():
            (where / "mood").write_text(mood)
            farm.create(mood)
            build = farm.submit(srpm(farm, "poor"), mood)
            wait_until(partial(told, farm, build, words), 60, words)
            wait_until(partial(logged, farm, words), what=words)
            assert len(made(where)) <= 2
            wait_until(partial(shown, farm, words), 60, "everywhere")
            (where / "mood").write_text("good")
            farm.redis.publish("copr-be:hosts:wake", "retry")
            assert farm.wait(build) == "succeeded"
        assert len(lines(where / "asked")) >= 2 * len(MOODS)
        bad = set(lines(where / "asked")) - set(on_record(farm))
        wait_until(lambda: bad <= set(lines(where / "ended")), what="all bad ones ended")
        wait_until(lambda: sorted(made(where)) == sorted(on_record(farm)))
    finally:
        farm.close()


def shown(farm: Farm, words: str) -> bool:
    """Why there are no machines, to all who may look for it."""
    page = html.unescape(farm.http.request("GET", f"{farm.url}/workers").data.decode())
    status = farm.http.request("GET", f"{farm.url}/status.json").json()
    told = [one["reason"] for one in status["host_troubles"]]
    texts = [page, *told, command(farm, "host", "list"), command(farm, "status")]
    return bool(told) and all(words in text for text in texts)


def told(farm: Farm, build: int, words: str) -> bool:
    return words in why(farm, build)


@pytest.mark.parametrize(
    ("mood", "words"),
    [("same", "toy://u@same is the address of host"), ("twin", "under another name")],
)
def test_one_machine_under_two_names_is_not_given_to_two(
    mood: str, words: str, tmp_path: Path, top: Path
) -> None:
    where = tmp_path / "toys"
    farm = start(tmp_path, top)
    (where / "mood").write_text(mood)
    (where / "same").mkdir()
    (where / "same" / "hold").touch()
    try:
        farm.start()
        for project in ("p", "q"):
            farm.create(project)
        first = farm.submit(srpm(farm, "one"), "p")
        wait_until(lambda: "begin" in lines(where / "same" / "journal"))
        second = farm.submit(srpm(farm, "two"), "q")
        wait_until(partial(told, farm, second, words), 60, words)
        assert lines(where / "same" / "journal") == ["begin", "p"]
        (where / "mood").write_text("good")
        farm.redis.publish("copr-be:hosts:wake", "retry")
        assert farm.wait(second) == "succeeded"
        assert lines(where / "same" / "journal") == ["begin", "p"]
        (where / "same" / "hold").unlink()
        assert farm.wait(first) == "succeeded"
    finally:
        farm.close()


def test_killed_in_the_middle_of_spawning_nothing_is_leaked(tmp_path: Path, top: Path) -> None:
    where = tmp_path / "toys"
    farm = start(tmp_path, top)
    (where / "mood").write_text("hangs")
    try:
        farm.start()
        farm.create()
        build = farm.submit(srpm(farm, "killed"))
        wait_until(lambda: made(where), what="it is being made")
        assert on_record(farm), "on record before it was made"
        (left,) = made(where)
        assert farm.process
        farm.process.kill()
        farm.process.wait()
        assert left in made(where)
        (where / "mood").write_text("good")
        farm.start()
        wait_until(lambda: left in lines(where / "ended"))
        assert farm.wait(build) == "succeeded"
    finally:
        farm.close()


def test_what_an_interrupted_spawn_command_has_started_makes_no_machine_later(
    tmp_path: Path, top: Path
) -> None:
    where = tmp_path / "toys"
    farm = start(tmp_path, top)
    (where / "mood").write_text("forks")
    try:
        farm.start()
        farm.create()
        build = farm.submit(srpm(farm, "one"))
        wait_until(lambda: lines(where / "forked"), what="a child of spawn_command")
        child = Path("/proc") / lines(where / "forked")[0] / "environ"
        (where / "mood").write_text("good")
        os.kill(farm.titled("copr-be: hosts")[0], signal.SIGKILL)
        first = lines(where / "asked")[0]
        wait_until(lambda: first in lines(where / "ended"), what="it is terminated")
        with contextlib.suppress(OSError):  # it is gone, or a zombie
            assert not child.read_bytes()
        assert farm.wait(build) == "succeeded"
    finally:
        farm.close()


def test_leaked_machines_and_those_that_do_not_want_to_end(tmp_path: Path, top: Path) -> None:
    where = tmp_path / "toys"
    farm = start(tmp_path, top, hosts__prefix="ours", backend__group0_host_idle_time="0")
    (where / "ours-0-leaked").mkdir()
    (where / "theirs").mkdir()
    try:
        farm.start()
        farm.create()
        wait_until(lambda: lines(where / "ended") == ["ours-0-leaked"])
        (where / "stuck").touch()
        assert farm.wait(farm.submit(srpm(farm, "one"))) == "succeeded"
        wait_until(lambda: "no such luck" in json.dumps(hosts(farm)))
        (stuck,) = hosts(farm)
        assert hosts(farm)[stuck]["state"] == "ending"
        (where / "stuck").unlink()
        wait_until(lambda: stuck in lines(where / "ended"))
        wait_until(lambda: made(where) == ["theirs"])
    finally:
        farm.close()


# --- resalloc --------------------------------------------------------------------------------


class Resalloc:
    """Answers as resalloc does; a machine is a toy of the ticket's number."""

    def __init__(self, where: Path) -> None:
        self.where, self.asked, self.closed = where, 0, set[int]()
        self.sandboxes: list[str] = []

    def takeTicket(self, tags: list[str], sandbox: str) -> int:  # noqa: N802
        assert tags == ["arch_x86_64", "copr_builder"]
        self.sandboxes.append(sandbox)
        return len(self.sandboxes)

    def collectTicket(self, number: int) -> dict[str, Any]:  # noqa: N802
        self.asked += 1
        host = "-oNo=host" if number == 2 else f"vm{number}"
        if number > 2:
            (self.where / host).mkdir(exist_ok=True)
        failed = number == 1
        output = xmlrpc.client.Binary(f"{host}\nmore\n".encode())
        return {"ready": not failed, "output": output, "closed": False, "failed": failed}

    def closeTicket(self, number: int) -> None:  # noqa: N802
        self.closed.add(number)


def test_machines_of_resalloc(tmp_path: Path, top: Path) -> None:
    server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False, allow_none=True)
    where = tmp_path / "toys"
    where.mkdir()
    known = Resalloc(where)
    server.register_instance(known)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    options = {"resalloc_connection": url, "resalloc_tags": "arch_x86_64,copr_builder"}
    farm = Farm(top, **TOYS, **{f"backend__group0_{key}": text for key, text in options.items()})
    (top / "state").mkdir(mode=0o700)
    toys(farm).symlink_to(where)
    try:
        farm.start()
        farm.create()
        build = farm.submit(srpm(farm, "one"))
        assert farm.wait(build) == "succeeded"  # the first ticket fails, the second has no host
        wait_until(lambda: {1, 2, 3} <= known.closed)
        assert set(known.sandboxes) == {"admin/p--admin"}
        wait_until(partial(logged, farm, "resalloc ticket 1 failed"))
        wait_until(partial(logged, farm, "ticket 2: its output: '-oNo=host' is no address"))
        info = next((top / "results").rglob(f"{build:08d}-one/build.info")).read_text()
        assert "copr-be-" in info
        wait_until(lambda: not hosts(farm))
        assert farm.stop() == 0
        assert known.closed == set(range(1, len(known.sandboxes) + 1))
    finally:
        farm.close()
        server.shutdown()
        server.server_close()
        thread.join()
