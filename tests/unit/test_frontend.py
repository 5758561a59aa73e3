"""The protocol client against a server that answers what the test wants."""

import contextlib
import json
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from backend.exceptions import FrontendBroken, FrontendError, FrontendRefused
from backend.frontend import Frontend
from tests.serving import served
from tests.unit.answers import Handler, Server


@pytest.fixture
def server() -> Iterator[Server]:
    with served(Server()) as server:
        yield server


@pytest.fixture
def frontend(server: Server) -> Iterator[Frontend]:
    client = Frontend(f"http://127.0.0.1:{server.server_port}/", "pw", timeout=60)
    with contextlib.closing(client):
        yield client


def test_posts_carry_the_password_and_json(server: Server, frontend: Frontend) -> None:
    server.body = b'{"can_start": true}'
    assert frontend.starting({"build_id": 1}).granted
    method, path, auth, body = server.seen[0]
    assert (method, path) == ("POST", "/backend/starting_build/")
    assert auth == "Basic dXNlcjpwdw=="
    assert json.loads(body) == {"build_id": 1}


def test_a_bad_record_costs_only_itself(server: Server, frontend: Frontend) -> None:
    good = {"task_id": "1", "build_id": 1, "project_owner": "jdoe"}
    server.body = json.dumps([good, {**good, "build_id": "x"}, 7]).encode()
    tasks, problems = frontend.pending()
    assert [task.task_id for task in tasks] == ["1"]
    assert len(problems) == 2


@pytest.mark.parametrize(
    ("status", "version", "body", "error", "words"),
    [
        (500, "9", b"x", FrontendError, "answered 500"),
        (408, "9", b"x", FrontendError, "answered 408"),
        (401, "9", b"x", FrontendError, "frontend_auth"),
        (404, "9", b"x", FrontendRefused, "404"),
        (200, "", b"[]", FrontendError, "protocol unknown"),
        (200, "8", b"[]", FrontendError, "protocol 8"),
        (200, "9", b"<html>", FrontendError, "no JSON"),
        (200, "9", b"{}", FrontendError, "no list"),
    ],
)
def test_bad_answers_are_one_clear_error(
    server: Server, frontend: Frontend, status: int, version: str, body: bytes,
    error: type[Exception], words: str,
) -> None:  # fmt: skip
    server.status, server.version, server.body = status, version, body
    with pytest.raises(error, match=words):
        frontend.pending()


@pytest.mark.parametrize(("protocol", "connections"), [("HTTP/1.1", 1), ("HTTP/1.0", 3)])
def test_one_connection_serves_all_calls(
    server: Server, frontend: Frontend, monkeypatch: pytest.MonkeyPatch, protocol: str,
    connections: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(Handler, "protocol_version", protocol)
    for _ in range(3):
        assert frontend.cancel_requests() == []
    assert server.connections == connections


def test_a_connection_that_the_frontend_closed_meanwhile_costs_nothing(
    server: Server, frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Handler._answer

    def close_after(handler: Handler) -> None:
        """Without a word about it in the headers."""
        answer(handler)
        handler.close_connection = True

    monkeypatch.setattr(Handler, "protocol_version", "HTTP/1.1")
    monkeypatch.setattr(Handler, "do_GET", close_after)
    assert frontend.cancel_requests() == []
    kept = frontend._connection
    assert kept
    assert kept.sock
    assert select.select([kept.sock], [], [], 100)[0]
    assert frontend.cancel_requests() == []
    assert server.connections == 2


def test_an_answer_that_never_ends_is_given_up(
    server: Server, frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.frontend.MAX_ANSWER", 1000)
    server.body = b"x" * 10**6
    with pytest.raises(FrontendError, match="longer than 1000"):
        frontend.pending()
    server.body = b"[]"
    assert frontend.cancel_requests() == []


def test_a_start_may_bring_the_task(server: Server, frontend: Frontend) -> None:
    server.body = b'{"can_start": true, "task": {"task_id": "1"}}'
    assert frontend.starting({"want_task": True}).task == {"task_id": "1"}
    server.body = b'{"can_start": true}'
    assert frontend.starting({"want_task": True}).task is None


def test_a_kept_connection_that_ends_under_a_question_is_no_trouble() -> None:
    answer = b"HTTP/1.1 200 OK\r\nCopr-FE-BE-API-Version: 9\r\nContent-Length: 2\r\n\r\n[]"
    asked: list[bytes] = []

    def serve() -> None:
        for turns in (1, 1):  # each connection answers once, and ends at the next question
            peer, _ = listener.accept()
            with peer:
                for turn in range(turns + 1):
                    asked.append(peer.recv(1 << 16))
                    if turn < turns and asked[-1]:
                        peer.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        client = Frontend(f"http://127.0.0.1:{listener.getsockname()[1]}/", "pw", timeout=60)
        with contextlib.closing(client):
            assert client.cancel_requests() == []
            assert client.cancel_requests() == []
            with pytest.raises(FrontendError):  # what changes something is not said twice
                client.update([{"id": 1}])
        thread.join()
    assert [text[:3] for text in asked] == [b"GET", b"GET", b"GET", b"POS"]


def test_nobody_there() -> None:
    client = Frontend("http://127.0.0.1:9", "pw", timeout=60)
    with contextlib.closing(client), pytest.raises(FrontendError, match="refused"):
        client.pending()


@pytest.mark.parametrize(
    "answer",
    [
        b"[" * 200_000,
        b"[" + b"1," * 3_000_001 + b"1]",
        b'{"a": ' * 100_000,
        b"9" * 10_000,
        b"\xff\xfe",
        b"",
    ],
)
def test_hostile_json_is_one_broken_answer(
    server: Server, frontend: Frontend, answer: bytes
) -> None:
    server.body = answer
    with pytest.raises(FrontendBroken):
        frontend.pending()
    server.body = b"[]"
    assert frontend.pending() == ([], [])


def test_absurd_numbers_cost_one_record_each(server: Server, frontend: Frontend) -> None:
    good = {"task_id": "1", "build_id": 1, "project_owner": "jdoe"}
    odd = [
        {"task_id": "9" * 4000, "build_id": 1, "project_owner": "x"},
        {"task_id": "2", "build_id": 10**400, "project_owner": "x"},
        {"task_id": "2", "build_id": True, "project_owner": "x"},
        {"task_id": "-2", "build_id": -2, "project_owner": "x"},
        {"task_id": "2-../../x-y", "build_id": 2, "project_owner": "x"},
        {"task_id": "٣", "build_id": 3, "project_owner": "x"},
        {"task_id": None, "build_id": None},
        [],
        None,
    ]
    server.body = json.dumps([*odd, good]).encode()
    tasks, problems = frontend.pending()
    assert [task.task_id for task in tasks] == ["1"]
    assert len(problems) == len(odd)
    server.version = "9" * 5000
    assert frontend.pending()[0]


def test_a_task_is_rescheduled_by_its_parts(server: Server, frontend: Frontend) -> None:
    server.body = b'{"result": "noop", "msg": "x"}'
    frontend.reschedule("7-fedora-41-x86_64")
    frontend.reschedule("7")
    assert [json.loads(body) for *_, body in server.seen] == [
        {"build_id": 7, "task_id": "7-fedora-41-x86_64", "chroot": "fedora-41-x86_64"},
        {"build_id": 7, "task_id": "7", "chroot": "srpm-builds"},
    ]


def test_the_state_of_a_chroot_comes_from_api_v3(server: Server) -> None:
    client = Frontend(f"http://127.0.0.1:{server.server_port}/copr", "x")
    server.version, server.body = "", b'{"name": "debian-12-x86_64", "state": "succeeded"}'
    assert client.chroot_state("7-debian-12-x86_64") == "succeeded"
    where = "/copr/api_3/build-chroot?build_id=7&chrootname=debian-12-x86_64"
    assert server.seen[-1][:2] == ("GET", where)
    assert client.chroot_state("7") == ""
    for server.status, server.body in ((404, b"{}"), (500, b""), (200, b"<html>"), (200, b"[]")):
        assert client.chroot_state("7-debian-12-x86_64") == ""
    client.close()
