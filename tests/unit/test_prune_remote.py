"""Pruning for a real frontend: what is asked, what is told, and what stops it."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from backend.exceptions import FrontendError
from backend.frontend import Frontend
from backend.prune_remote import MAX_PROJECT, RemoteBooks
from backend.pruning import Known
from tests.serving import served

FORK = {"id": 7, "action_type": 7, "object_type": "copr", "old_value": "jdoe/p",
        "new_value": "jdoe/q", "data": json.dumps({"builds_map": {
            "fedora-41-x86_64": {"00000001-hello": "00000009-hello"}}})}  # fmt: skip
RAWHIDE = {"id": 8, "action_type": 6, "object_type": "None", "data": json.dumps(
    {"ownername": "jdoe", "copr_dir": "p", "rawhide_chroot": "fedora-rawhide-x86_64",
     "dest_chroot": "fedora-42-x86_64", "builds": ["00000002-hello"]})}  # fmt: skip


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.told: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {
            "/backend/pending-jobs/": [],
            "/backend/pending-actions/": [{"id": 7, "priority": 0}, {"id": 8, "priority": 0}],
            "/backend/action/7/": FORK,
            "/backend/action/8/": RAWHIDE,
            "/backend/chroots-prunerepo-status/": {
                "fedora-39-x86_64": {"active": False, "final_prunerepo_done": True},
                "fedora-40-x86_64": {"active": False, "final_prunerepo_done": False},
                "fedora-41-x86_64": {"active": True, "final_prunerepo_done": False},
            },
            "/api_3/project?ownername=%40group&projectname=p": {"auto_prune": False},
            "/api_3/project?ownername=jdoe&projectname=p": {
                "auto_prune": True,
                "devel_mode": True,
            },
        }


class Handler(BaseHTTPRequestHandler):
    server: Server

    def _reply(self, answer: Any) -> None:
        if isinstance(answer, bytes):
            body = answer
        else:
            body = json.dumps({"error": "no such thing"} if answer is None else answer).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Copr-FE-BE-API-Version", "9")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._reply(self.server.answers.get(self.path))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told.append((self.path, body))
        self._reply(True)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with served(Server()) as server:
        yield server


@pytest.fixture
def books(server: Server) -> RemoteBooks:
    return RemoteBooks(Frontend(server.url, "1234"), server.url)


def test_settings_come_from_the_public_api(books: RemoteBooks) -> None:
    known = books.known("jdoe", "p:pr:7")
    assert isinstance(known, Known)
    assert (known.auto, known.devel, set(known.still)) == (True, True, {"fedora-39-x86_64"})
    group = books.known("@group", "p")
    assert isinstance(group, Known)
    assert group.auto is False


@pytest.mark.parametrize(
    ("settings", "auto"),
    [
        ({"auto_prune": True, "persistent": True}, False),
        ({"auto_prune": False, "persistent": False}, False),
        ({"auto_prune": None, "persistent": False}, True),
    ],
)
def test_persistent_projects_are_not_pruned(
    books: RemoteBooks, server: Server, settings: dict[str, Any], auto: bool
) -> None:
    server.answers["/api_3/project?ownername=jdoe&projectname=kept"] = settings
    known = books.known("jdoe", "kept")
    assert isinstance(known, Known)
    assert known.auto is auto


def test_an_unknown_project_is_left_alone(books: RemoteBooks) -> None:
    assert books.known("jdoe", "gone") == "the frontend answered 404: no such thing"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"[" * 100_000, "does not tell of it"),
        (b'{"auto_prune": ' + b"9" * 5000 + b"}", "does not tell of it"),
        (b'{"x": "' + b"y" * MAX_PROJECT + b'"}', "answer longer than"),
        (b"<h1>500</h1>", "does not tell of it"),
        (b"[]", "the frontend answered 200: []"),
    ],
    ids=["deep", "number", "large", "html", "list"],
)
def test_projects_told_of_in_nonsense_are_left_alone(
    books: RemoteBooks, server: Server, answer: bytes, words: str
) -> None:
    server.answers["/api_3/project?ownername=jdoe&projectname=odd"] = answer
    known = books.known("jdoe", "odd")
    assert isinstance(known, str)
    assert words in known


@pytest.mark.parametrize("data", ["7", "[]", '{"builds_map": {"f": 7, "g": ["x"], "h": null}}'])
def test_a_fork_that_nobody_can_read_wants_nothing(
    books: RemoteBooks, server: Server, data: str
) -> None:
    server.answers["/backend/action/7/"] = {**FORK, "data": data}
    assert books.wanted() == {"jdoe/p/fedora-rawhide-x86_64/00000002-hello"}


def test_waiting_actions_want_what_they_copy(books: RemoteBooks) -> None:
    assert books.wanted() == {
        "jdoe/p/fedora-41-x86_64/00000001-hello",
        "jdoe/p/fedora-rawhide-x86_64/00000002-hello",
    }


def test_ended_chroots_are_reported_once_all_was_pruned(books: RemoteBooks, server: Server) -> None:
    books.finished()
    assert server.told == [("/backend/final-prunerepo-done/", ["fedora-40-x86_64"])]


def test_an_answer_that_cannot_be_read_stops_it(books: RemoteBooks, server: Server) -> None:
    server.answers["/backend/pending-jobs/"] = [{"task_id": 1}]
    with pytest.raises(FrontendError, match="not safe to prune"):
        books.unfinished()
