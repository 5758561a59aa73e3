"""The board of promises, over real forks."""

import os
import time

from backend.daemons import board
from backend.daemons.board import Board, State


def test_a_kept_promise_is_not_overdue_and_a_broken_one_is() -> None:
    promises = Board(4)
    first, second = promises.take(10), promises.take(30)
    now = time.monotonic()
    assert promises.overdue(now) == set()
    assert promises.overdue(now + 11) == {first}
    assert promises.overdue(now + 31) == {first, second}
    promises.promise(first, 60, State.READY)
    assert promises.overdue(now + 31) == {second}


def test_cells_are_used_again_and_a_full_board_says_so() -> None:
    promises = Board(2)
    cells = [promises.take(1), promises.take(1)]
    assert promises.take(1) == -1
    promises.leave_words(cells[0], "out of order")
    promises.promise(cells[0], 1, State.BUSY)
    promises.give_back(cells[0])
    promises.give_back(cells[0])
    assert promises.take(1) == cells[0]
    assert (promises.last_words(cells[0]), promises.state(cells[0])) == ("", State.STARTING)
    assert promises.take(1) == -1
    assert promises.overdue(time.monotonic() + 2) == set(cells)


def test_a_child_beats_into_its_own_cell() -> None:
    promises = Board(4)
    mine, other = promises.take(1), promises.take(1)
    pid = os.fork()
    if pid == 0:
        board.attach(promises, mine)
        board.beat(1000, busy=True)
        board.last_words("ü" * 1000)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert promises.overdue(time.monotonic() + 100) == {other}
    assert (promises.state(mine), promises.state(other)) == (State.BUSY, State.STARTING)
    assert promises.busy() == 1
    assert set(promises.last_words(mine)) <= {"ü", "\N{REPLACEMENT CHARACTER}"}
    assert promises.last_words(other) == ""


def test_beating_outside_a_daemon_does_nothing() -> None:
    board.beat(1)
    board.last_words("nobody listens")
