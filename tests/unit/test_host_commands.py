"""What is understood of the commands that make and list machines, and of resalloc."""

import contextlib
import gzip
import http.server
import sys
import threading
import xmlrpc.client
import xmlrpc.server
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from backend.exceptions import InfrastructureError
from backend.hosts import commands, resalloc
from tests.serving import served


@pytest.mark.parametrize(
    ("printed", "address"),
    [
        ('{"address": "root@10.0.0.1", "port": 2222}', "ssh://root@10.0.0.1:2222"),
        ('{"address": "10.0.0.1"}', "ssh://builder@10.0.0.1"),
        ('{"address": "ssh://u@h:23"}', "ssh://u@h:23"),
        ('{"address": "u@fe80::1"}', "ssh://u@[fe80::1]"),
        ('booting\n{"debug": 1}\n{"address": "u@h", "port": "24"}\n', "ssh://u@h:24"),
        ('booting\n{\n "tags": {\n  "a": 1\n },\n "address": "u@h"\n}\n', "ssh://u@h"),
        ('{\n "name": "vm-1",\n "address": "u@h"\n}', "ssh://u@h"),
    ],
)
def test_an_address_is_found(printed: str, address: str) -> None:
    assert commands.read_answer(printed.encode(), "builder").address == address


@pytest.mark.parametrize(
    "printed",
    ["", "\xff\xfe garbage", "[]", "{}", '{"address": ""}', '{"address": 7}', "null",
     '{"address": "u@h; reboot"}', '{"address": "-oProxyCommand=x"}', '{"address": "-x@h"}',
     '{"address": "u@h", "port": 0}', '{"address": "u@h", "port": true}', "[" * 100_000,
     '{"address": "u@h", "port": "' + "9" * 5000 + '"}',
     '{"address": "u@h", "name": "a b"}', '{"address": "u@h", "host_key": "a\\nb"}'],
)  # fmt: skip
def test_garbage_is_one_clear_error(printed: str) -> None:
    with pytest.raises(InfrastructureError, match="spawn_command") as caught:
        commands.read_answer(printed.encode("latin-1"), "builder")
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_lists_are_lines_or_json_and_nothing_else() -> None:
    listed = commands.read_list(b"a\n\n b \n")
    assert [entry.name for entry in listed] == ["a", "b"]
    raw = b'["a", {"name": "b", "tags": ["x"]}, {"name": "c", "tags": {"k": "v"}, "tag": "t"}]'
    listed = commands.read_list(raw)
    assert [(entry.name, entry.tags) for entry in listed[1:]] == [
        ("b", ("x",)),
        ("c", ("t", "k", "v")),
    ]
    for bad in (b"[1]", b"[", b"Error: no credentials\n", b'[{"id": 1}]'):
        with pytest.raises(InfrastructureError):
            commands.read_list(bad)


def test_values_cannot_become_words() -> None:
    assert commands.words("run '{name} x' {nothing}", {"name": "a b"}) == [
        "run",
        "a b x",
        "{nothing}",
    ]


def run(program: str, timeout: float = 60) -> bytes:
    return commands.execute("spawn_command", f"{sys.executable} -c '{program}'", {}, timeout)


def test_a_command_is_told_its_values() -> None:
    program = 'import os; print(os.environ["COPR_BE_NAME"])'
    command = f"{sys.executable} -c '{program}'"
    assert commands.execute("x", command, {"name": "m"}, 60) == b"m\n"


def test_a_failing_a_hanging_and_an_endless_command_are_bounded() -> None:
    with pytest.raises(InfrastructureError, match="exit code 3: no quota"):
        run('import sys; print("no quota", file=sys.stderr); sys.exit(3)')
    with pytest.raises(InfrastructureError, match=r"killed by signal 9$"):
        run("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(InfrastructureError, match=r"did not end within 0\.2 s"):
        run("import signal; signal.pause()", 0.2)
    with pytest.raises(InfrastructureError, match="printed more than"):
        run("while True: print(str(1) * 10000)")
    with pytest.raises(InfrastructureError, match=r"cannot start|exit code"):
        commands.execute("spawn_command", "/does/not/exist", {}, 60)


def test_a_program_that_leaves_another_one_behind_has_ended() -> None:
    """Even when that one keeps its output open."""
    program = (
        "import os, signal\nif os.fork() == 0:\n os.setsid(); signal.alarm(60); signal.pause()\n"
        "print(1)"
    )
    assert commands.execute("x", f'{sys.executable} -c "{program}"', {}, 55) == b"1\n"


# --- resalloc --------------------------------------------------------------------------------


class Server:
    """Answers as resalloc does."""

    def __init__(self) -> None:
        self.tickets: dict[int, dict[str, Any]] = {}
        self.taken: list[Any] = []

    def takeTicket(self, tags: list[str], sandbox: str) -> int:  # noqa: N802
        self.taken.append((tags, sandbox))
        number = len(self.taken)
        self.tickets[number] = {"ready": False, "output": None, "closed": False, "failed": False}
        return number

    def collectTicket(self, number: int) -> dict[str, Any]:  # noqa: N802
        unknown = {"ready": None, "output": None, "closed": None, "failed": None}
        return self.tickets.get(number, unknown)

    def closeTicket(self, number: int) -> None:  # noqa: N802
        if number not in self.tickets:
            raise ValueError(f"no such ticket {number}")
        self.tickets[number]["closed"] = True


@pytest.fixture
def server() -> Iterator[tuple[Server, str]]:
    http = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False, allow_none=True)
    found = Server()
    http.register_instance(found)
    with served(http):
        yield found, f"http://127.0.0.1:{http.server_address[1]}"


def test_a_ticket_from_beginning_to_end(server: tuple[Server, str]) -> None:
    known, url = server
    client = resalloc.Resalloc(url)
    number = client.take(("arch_x86_64",), "o/p--u")
    assert known.taken == [(["arch_x86_64"], "o/p--u")]
    assert not client.collect(number).ready
    output = xmlrpc.client.Binary(b"vm-1.example.org extra\nmore\n")
    known.tickets[number] |= {"ready": True, "output": output}
    found = client.collect(number)
    assert resalloc.host_of(found.output, number) == "vm-1.example.org"
    client.close(number)
    assert known.tickets[number]["closed"]
    client.close(99)  # not there any more: as good as closed


def test_a_ticket_that_failed_was_closed_or_is_unknown_is_lost(server: tuple[Server, str]) -> None:
    known, url = server
    client = resalloc.Resalloc(url)
    number = client.take(("t",), "s")
    for change in ({"failed": True}, {"failed": False, "closed": True}):
        known.tickets[number] |= change
        with pytest.raises(resalloc.TicketLost, match=f"ticket {number} "):
            client.collect(number)
    with pytest.raises(resalloc.TicketLost, match="not known"):
        client.collect(77)
    with pytest.raises(resalloc.TicketLost, match="names no host"):
        resalloc.host_of(" \n", 1)


def test_a_server_that_is_away_or_none_is_the_farms_fault() -> None:
    client = resalloc.Resalloc("http://127.0.0.1:9")
    with pytest.raises(InfrastructureError, match="resalloc"):
        client.take(("t",), "s")


class Garbage(http.server.BaseHTTPRequestHandler):
    """Answers with what `answers` has."""

    answers: ClassVar[list[tuple[bytes, str]]] = []
    sent = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        data, encoding = self.answers.pop(0)
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(256 if data.startswith(b"endless") else 1):
                self.wfile.write(data)
                type(self).sent += len(data)

    def log_message(self, *_: object) -> None:
        pass


XML = (
    "<?xml version='1.0'?><methodResponse><params><param><value>{}</value></param></params>"
    "</methodResponse>"
)
BOMB = gzip.compress(XML.format("<string>" + "x" * 2**24 + "</string>").encode())


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"endless" + b"x" * 2**20, ""),
        (BOMB, "gzip"),
        (b"\xff\xfe\0garbage", ""),
        (XML.format("<string>7</string>").encode(), ""),
        (XML.format("<boolean>1</boolean>").encode(), ""),
        (XML.format("<int>9999999999</int>").encode()[:-30], ""),
        (b"", ""),
    ],
)
def test_whatever_a_server_answers_is_bounded_and_one_clear_error(
    data: bytes, encoding: str
) -> None:
    Garbage.answers, Garbage.sent = [(data, encoding)], 0
    with http.server.HTTPServer(("127.0.0.1", 0), Garbage) as web:
        thread = threading.Thread(target=web.handle_request)
        thread.start()
        client = resalloc.Resalloc(f"http://127.0.0.1:{web.server_address[1]}")
        with pytest.raises(InfrastructureError, match="resalloc") as caught:
            client.take(("t",), "s")
        thread.join()
    assert len(str(caught.value)) < 1000
    assert Garbage.sent < 2**25, "it is not listened to for ever"
