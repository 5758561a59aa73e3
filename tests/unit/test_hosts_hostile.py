"""What a host answers is not trusted: a script that misbehaves stands in for the agent."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from backend import process
from backend.config import Config
from backend.exceptions import BuildError, HostError
from backend.hosts import connect, fetch, ssh
from backend.hosts.address import Host
from backend.hosts.bundle import GREETING
from backend.hosts.wire import pack, to_json
from tests.unit import hosts
from tests.unit.hosts import Quiet
from tests.unit.stub_builder import PACKAGE

#: Says what it is to say at each of three points, whatever it is asked.
FAKE = """
import os, struct, sys
def frame():
    head = b""
    while len(head) < 8:
        part = os.read(0, 8 - len(head))
        if not part:
            sys.exit()
        head += part
    size = sum(struct.unpack("!II", head))
    data = b""
    while len(data) < size:
        data += os.read(0, size - len(data))
    return data
said = [bytes.fromhex(word) for word in open(sys.argv[1]).read().split(",")]
os.write(1, said[0])
for word, answer in ((b'"setup"', said[1]), (b'"start"', said[2]), (b'"follow"', said[3])):
    while word not in frame():
        pass
    while answer:
        answer = answer[os.write(1, answer):]
while True:
    frame()
"""
HELLO = GREETING + b"ready\n"
READY = pack("ready", chroots=["stub-1-noarch"])
STARTED = pack("started")


def end(**outcome: Any) -> bytes:
    return pack("end", outcome=outcome)


def artifact(size: int = 3, **package: Any) -> dict[str, Any]:
    return {
        "path": "/x",
        "size": size,
        "package": {**to_json(PACKAGE), "arch": "x86_64", **package},
    }


def talk(monkeypatch: pytest.MonkeyPatch, top: Path, *said: bytes) -> None:
    words = top / "words"
    words.write_text(",".join(word.hex() for word in (*said, b"", b"", b"", b"")[:4]))
    argv = [sys.executable, "-c", FAKE, str(words)]
    monkeypatch.setattr(ssh, "arguments", lambda *_, **__: argv)


def build(top: Path) -> None:
    builder = connect("ssh://copr@h1", hosts.config(top))
    try:
        builder.build(hosts.request(top, "x"), Quiet())
    finally:
        builder.close()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((b"Welcome!\n" * 40_000,), "not the agent, but b'Welcome!"),
        ((GREETING + b"python 3.6.8\n",), "is Python 3.6.8: install 3.11 or newer"),
        ((GREETING + b"trouble No space left\n",), r"cannot start: No space left: see \[hosts\]"),
        ((HELLO, b"\xff" * 100), "nonsense: a frame is too large"),
        ((HELLO, b"\0\0\0\2\0\0\0\0[]"), "nonsense: a frame is no JSON object"),
        ((HELLO, b"\0\0\0\2\0\0\0\0{{"), "nonsense: a frame is no JSON:"),
        ((HELLO, pack("ready")), "nonsense: it names no chroots"),
        ((HELLO, pack("ready", chroots=["x"])), "nonsense: 'x' is no chroot name"),
        ((HELLO, pack("trouble", text="a\nb\x1b[31mc")), r"host ssh://copr@h1: a b \[31mc$"),
        ((HELLO, READY, pack("trouble", text="full")), "host ssh://copr@h1: full"),
        ((HELLO, READY, STARTED, pack("end")), "nonsense: the build has no outcome"),
        ((HELLO, READY, STARTED, pack("log", b"x" * 500_000) * 3), "more log than was allowed"),
        ((HELLO, READY, STARTED, end(error="Odd", text="a\nb")), "host ssh://copr@h1: a b"),
        ((HELLO, READY, STARTED, end(artifacts=[])), "its list of results is none"),
        ((HELLO, READY, STARTED, end(artifacts=[{}])), "list of results is damaged"),
        ((HELLO, READY, STARTED, end(artifacts=[artifact(-1)])), "list of results is damaged"),
        (
            (HELLO, READY, STARTED, end(artifacts=[artifact(name="../../x")])),
            "refused result '../../x-1-1.x86_64.rpm'",
        ),
        (
            (HELLO, READY, STARTED, end(artifacts=[artifact(), artifact()])),
            "two results have the same name",
        ),
        (
            (HELLO, READY, STARTED, end(artifacts=[artifact()]) + pack("data", b"1234")),
            "a result is larger than it said",
        ),
        (
            (HELLO, READY, STARTED, end(artifacts=[artifact()]) + pack("fetched")),
            "a result is smaller than it said",
        ),
    ],
)
def test_nonsense_is_the_hosts_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: tuple[bytes, ...], why: str
) -> None:
    talk(monkeypatch, tmp_path, *said)
    with pytest.raises(HostError, match=why):
        build(tmp_path)


def log(**fields: Any) -> dict[str, Any]:
    return {"path": "/x", "name": "root.log", "size": 3, **fields}


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("many", b""),
        ([log()] * 51, b""),
        ([log(), log()], b""),
        ([{}], b""),
        ([log(size=-1)], b""),
        ([log(size=True)], b""),
        ([log(name="../root.log")], pack("data", b"abc") + pack("fetched")),
        ([log(name="success")], pack("data", b"abc") + pack("fetched")),
        ([log()], pack("data", b"abcd")),
        ([log()], pack("fetched")),
        ([log(size=17 * 1024**3)], b""),
    ],
)
def test_logs_that_are_none_are_left_out_and_the_verdict_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listed: Any, said: bytes
) -> None:
    ended = end(error="BuildError", text="it is broken", logs=listed)
    talk(monkeypatch, tmp_path, HELLO, READY, STARTED, ended + said)
    with pytest.raises(BuildError, match=r"^it is broken$"):
        build(tmp_path)
    assert {path.name for path in tmp_path.rglob("*.log")} <= {"root.log"}
    assert not list(tmp_path.rglob("success"))
    assert all(path.stat().st_size <= 3 for path in tmp_path.rglob("*.log"))


def test_logs_arrive_where_the_worker_looks_for_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended = end(error="BuildError", text="x", logs=[log(), log(name="build.log", size=0)])
    data = pack("data", b"a") + pack("data", b"bc") + pack("fetched")
    talk(monkeypatch, tmp_path, HELLO, READY, STARTED, ended + data)
    with pytest.raises(BuildError):
        build(tmp_path)
    assert (tmp_path / "work" / "logs" / "root.log").read_bytes() == b"abc"


def test_results_beyond_the_limit_are_not_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    talk(monkeypatch, tmp_path, HELLO, READY, STARTED, end(artifacts=[artifact(17 * 1024**3)]))
    with pytest.raises(BuildError, match=r"more than .* \(\[hosts\] max_results\)"):
        build(tmp_path)


@pytest.mark.rpmbuild
def test_what_is_no_rpm_is_found_out_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = end(artifacts=[artifact()]) + pack("data", b"abc") + pack("fetched")
    talk(monkeypatch, tmp_path, HELLO, READY, STARTED, results)
    with pytest.raises(BuildError, match=r"stub-1-1\.x86_64\.rpm.: no RPM package"):
        build(tmp_path)


def config(tmp_path: Path, **values: object) -> Config:
    return hosts.config(tmp_path, **values)


def test_the_command_line_is_strict_and_has_no_secret(tmp_path: Path) -> None:
    if not shutil.which("ssh"):
        pytest.skip("ssh is not installed")
    known, key = tmp_path / "known hosts%", tmp_path / "key"
    made = config(tmp_path, known_hosts=known, identity=key, timeout=40, connect_timeout=7)
    argv = ssh.arguments(Host.parse("ssh://copr@[::1]:2222"), made, shared=True)
    text = " ".join(argv)
    assert argv[-4:] == ["-l", "copr", "--", "::1"]
    for option in (
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ClearAllForwardings=yes",
        "ConnectTimeout=7",
        "ServerAliveInterval=10",
        "ControlMaster=auto",
        "IdentitiesOnly=yes",
        f'UserKnownHostsFile="{tmp_path}/known hosts%%"',
    ):
        assert f"-o {option}" in text
    assert "-F none" in text
    assert str(made.statedir) not in text


def test_what_is_not_configured_is_left_to_ssh(tmp_path: Path) -> None:
    if not shutil.which("ssh"):
        pytest.skip("ssh is not installed")
    argv = ssh.arguments(Host.parse("ssh://copr@h1"), config(tmp_path), shared=True)
    done = process.run([argv[0], "-G", *argv[1:]], timeout=60)
    assert done.code == 0, done.last_line
    found = dict(line.split(" ", 1) for line in done.stdout.decode().splitlines() if " " in line)
    assert found["userknownhostsfile"].endswith(".ssh/known_hosts2")
    assert found["globalknownhostsfile"].startswith("/etc/ssh/")
    assert "/.ssh/id_" in found["identityfile"]
    assert found["identitiesonly"] == "no"


def test_each_way_to_a_host_has_a_connection_of_its_own(tmp_path: Path) -> None:
    host = Host.parse("ssh://copr@h1")
    paths = {
        ssh.control_path(host, config(tmp_path)),
        ssh.control_path(Host.parse("ssh://copr@h1:23"), config(tmp_path)),
        ssh.control_path(host, config(tmp_path, known_hosts=tmp_path / "k")),
        ssh.control_path(host, config(tmp_path, identity=tmp_path / "k")),
    }
    assert len(paths) == 4
    # Unix sockets allow 107 bytes, and ssh adds 17 while it makes one.
    assert len(ssh.control_path(host, config(tmp_path)).name) <= 16


@pytest.mark.parametrize("name", ["python", "directory"])
def test_what_a_shell_would_take_apart_is_refused(tmp_path: Path, name: str) -> None:
    builder = connect("ssh://copr@h1", config(tmp_path, **{name: "/x; rm -rf ~"}))
    with pytest.raises(Exception, match="a plain name or path is needed"):
        builder.ping()


def test_our_own_source_package_is_not_fetched(tmp_path: Path) -> None:
    store = fetch.Store(config(tmp_path), hosts.request(tmp_path, "x"), PACKAGE)
    outcome = {"artifacts": [artifact(), artifact(arch="noarch")]}
    files = fetch.wanted("h1", outcome, config(tmp_path))
    assert [store.needs(file) for file in files] == [True, False]
