"""The board: every child promises when it will be heard of again; the master kills who is late.

One shared anonymous mapping, made before the first fork, with a cell for each child. A promise
is one 8-byte store, so that keeping it costs nothing and a kill at any moment breaks nothing.
"""

import mmap
import struct
import time
from enum import IntEnum

_CELL = 512
_PROMISE = struct.Struct("=d")
_STATE = struct.Struct("=Q")
_TEXT = slice(_PROMISE.size + _STATE.size, _CELL)


class State(IntEnum):
    """What a child says of itself."""

    STARTING = 0
    READY = 1
    BUSY = 2


class Board:
    """`cells` is the largest number of children at once; pages that nobody uses cost nothing."""

    def __init__(self, cells: int = 32768) -> None:
        self._memory = mmap.mmap(-1, cells * _CELL)
        self._free = list(range(cells - 1, -1, -1))
        self._taken: set[int] = set()

    def take(self, seconds: float) -> int:
        """A cell for a new child, which has `seconds` until its first promise; -1: all in use."""
        if not self._free:
            return -1
        cell = self._free.pop()
        self._taken.add(cell)
        self._memory[cell * _CELL : (cell + 1) * _CELL] = bytes(_CELL)
        self.promise(cell, seconds, State.STARTING)
        return cell

    def give_back(self, cell: int) -> None:
        """The child is gone."""
        if cell in self._taken:
            self._taken.remove(cell)
            self._free.append(cell)

    def promise(self, cell: int, seconds: float, state: State) -> None:
        """Be heard of again within `seconds`."""
        _STATE.pack_into(self._memory, cell * _CELL + _PROMISE.size, state)
        _PROMISE.pack_into(self._memory, cell * _CELL, time.monotonic() + seconds)

    def state(self, cell: int) -> State:
        """What the child last said of itself; READY for one without a cell."""
        if cell < 0:
            return State.READY
        return State(_STATE.unpack_from(self._memory, cell * _CELL + _PROMISE.size)[0])

    def busy(self) -> int:
        """How many children are at work."""
        return sum(self.state(cell) is State.BUSY for cell in self._taken)

    def overdue(self, now: float) -> set[int]:
        """Cells whose promise is broken; `now` in seconds of the monotonic clock."""
        read, memory = _PROMISE.unpack_from, self._memory
        return {cell for cell in self._taken if read(memory, cell * _CELL)[0] < now}

    def leave_words(self, cell: int, text: str) -> None:
        """The child says why it ends; cut at some 490 bytes."""
        data = text.encode()[: _TEXT.stop - _TEXT.start]
        start = cell * _CELL + _TEXT.start
        self._memory[start : start + len(data)] = data

    def last_words(self, cell: int) -> str:
        """Why the child ended; empty when it did not say."""
        if cell < 0:
            return ""
        raw = self._memory[cell * _CELL + _TEXT.start : (cell + 1) * _CELL]
        return raw.rstrip(b"\0").decode("utf-8", "replace")


class _Mine:
    """The board and the cell of this process; none outside a child of the master."""

    board: Board | None = None
    cell = -1


def attach(board: Board, cell: int) -> None:
    """First thing in a child: which cell `beat` writes."""
    _Mine.board, _Mine.cell = board, cell


def beat(seconds: float, *, busy: bool = False) -> None:
    """Promise to call this again within `seconds`, else the master ends this process.

    The first call says that the process is ready. Does nothing in a process that the master
    did not start, e.g. in a test.
    """
    if _Mine.board is not None and _Mine.cell >= 0:
        _Mine.board.promise(_Mine.cell, seconds, State.BUSY if busy else State.READY)


def last_words(text: str) -> None:
    """Tell the master why this process ends."""
    if _Mine.board is not None and _Mine.cell >= 0:
        _Mine.board.leave_words(_Mine.cell, text)
