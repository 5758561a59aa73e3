"""Which connections are ended: decided from what is seen once a second."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from backend.web.patience import Guard, Patience, Protocol

PATIENCE = Patience(head=20, body=30, least=1000, reply=300)


@dataclass(eq=False)
class Line:
    """A connection as the guard sees it."""

    unsent: int = 0
    it: Any = field(init=False)

    def __post_init__(self) -> None:
        self.it = Protocol.__new__(Protocol)
        self.it.cycle, self.it.flow = None, SimpleNamespace(read_paused=False)
        self.it.transport = SimpleNamespace(get_write_buffer_size=lambda: self.unsent)

    def request(self, *, more: bool = False) -> None:
        self.it.cycle = SimpleNamespace(more_body=more, response_complete=False)


def ends(guard: Guard, line: Line, *moments: float) -> list[bool]:
    return [guard.look([line.it], moment) == [line.it] for moment in moments]


def test_headers_have_a_time() -> None:
    guard, line = Guard(PATIENCE), Line()
    assert ends(guard, line, 0, 20, 21) == [False, False, True]


def test_each_request_has_its_own_time() -> None:
    guard, line = Guard(PATIENCE), Line()
    for moment in range(0, 100, 10):
        line.request()
        line.it.cycle.response_complete = True
        assert ends(guard, line, moment) == [False]
    assert ends(guard, line, 120) == [True]


def test_a_body_must_move() -> None:
    guard, line = Guard(PATIENCE), Line()
    line.request(more=True)
    for moment in range(0, 300, 29):
        line.it.received += 1000
        assert ends(guard, line, moment) == [False]
    line.it.received += 999
    assert ends(guard, line, 310, 325) == [False, True]


def test_a_client_is_not_blamed_for_our_own_slowness() -> None:
    guard, line = Guard(PATIENCE), Line()
    line.request(more=True)
    line.it.flow.read_paused = True
    assert ends(guard, line, 0, 100, 200) == [False, False, False]


def test_an_early_answer_does_not_shorten_an_upload() -> None:
    guard, line = Guard(PATIENCE), Line()
    line.request(more=True)
    line.it.cycle.response_complete = True
    for moment in range(0, 300, 25):
        line.it.received += 1000
        assert ends(guard, line, moment) == [False]


def test_an_answer_must_be_read_but_may_take_its_time_to_come() -> None:
    guard, line = Guard(PATIENCE), Line()
    line.request()
    assert ends(guard, line, 0, 1000) == [False, False]
    line.unsent = 5000
    assert ends(guard, line, 1001, 1300) == [False, False]
    line.unsent = 4000
    assert ends(guard, line, 1302, 1600, 1603) == [False, False, True]


def test_what_is_gone_is_forgotten() -> None:
    guard, line = Guard(PATIENCE), Line()
    guard.look([line.it], 0)
    assert guard.look([], 1) == []
    assert ends(guard, line, 30) == [False]
