"""The board: every child promises when it will be heard of again; the master kills who is late.

One shared anonymous mapping, made before the first fork, with a cell for each child. A promise
is one 8-byte store, so that keeping it costs nothing and a kill at any moment breaks nothing.
"""

import mmap
import struct
import time

_CELL = struct.Struct("=d")


class Board:
    """`cells` is the largest number of children at once; pages that nobody uses cost nothing."""

    def __init__(self, cells: int = 65536) -> None:
        self._memory = mmap.mmap(-1, cells * _CELL.size)
        self._free = list(range(cells - 1, -1, -1))
        self._taken: set[int] = set()

    def take(self, seconds: float) -> int:
        """A cell for a new child, which has `seconds` until its first promise; -1: all in use."""
        if not self._free:
            return -1
        cell = self._free.pop()
        self._taken.add(cell)
        self.promise(cell, seconds)
        return cell

    def give_back(self, cell: int) -> None:
        """The child is gone."""
        if cell in self._taken:
            self._taken.remove(cell)
            self._free.append(cell)

    def promise(self, cell: int, seconds: float) -> None:
        """Be heard of again within `seconds`."""
        _CELL.pack_into(self._memory, cell * _CELL.size, time.monotonic() + seconds)

    def overdue(self, now: float) -> set[int]:
        """Cells whose promise is broken; `now` in seconds of the monotonic clock."""
        size, read, memory = _CELL.size, _CELL.unpack_from, self._memory
        return {cell for cell in self._taken if read(memory, cell * size)[0] < now}


class _Mine:
    """The board and the cell of this process; none outside a child of the master."""

    board: Board | None = None
    cell = -1


def attach(board: Board, cell: int) -> None:
    """First thing in a child: which cell `beat` writes."""
    _Mine.board, _Mine.cell = board, cell


def beat(seconds: float) -> None:
    """Promise to call this again within `seconds`, else the master ends this process.

    Does nothing in a process that the master did not start, e.g. in a test.
    """
    if _Mine.board is not None and _Mine.cell >= 0:
        _Mine.board.promise(_Mine.cell, seconds)
