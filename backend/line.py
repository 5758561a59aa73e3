"""A Redis client for a process with one thread: one connection, and nothing around it.

redis-py's client lends connections to threads, repeats commands and measures them; for each
command of a worker, which needs none of that, this takes as long as the command itself.
"""

from typing import Any, cast

import redis
from redis.client import Pipeline
from redis.exceptions import ResponseError

Command = tuple[tuple[Any, ...], dict[str, Any]]


class Line(redis.Redis):
    """Same commands, same errors; not to be shared by threads, and no pub/sub.

    The connection is opened by the first command, and again by the first one after an error. It
    stands beside the pool, which serves whatever else redis-py offers.
    """

    _wire: Any = None

    def ready(self) -> Any:
        """The connection, opened anew if the server has closed it."""
        if self._wire is None:
            self._wire = cast(Any, self.connection_pool).make_connection()
        self._wire.connect()  # does nothing if it is connected
        try:
            fresh = not self._wire.can_read()
        except (redis.ConnectionError, OSError):
            fresh = False
        if not fresh:  # its end, or half an answer that nobody waits for
            self._wire.disconnect()
            self._wire.connect()
        return self._wire

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its answer; never repeats it."""
        wire = self.ready()
        wire.send_command(*args)
        return cast(Any, self).parse_response(wire, args[0], **options)

    def pipeline(self, transaction: bool = True, _hint: Any = None) -> "Batch":
        """Commands that share one round trip."""
        return Batch(self, transaction)

    def close(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            self._wire.disconnect()
        super().close()


class Batch(Pipeline):
    """A pipeline on the connection of a Line; without WATCH."""

    def __init__(self, line: Line, transaction: bool) -> None:
        callbacks = cast(Any, line).response_callbacks
        super().__init__(line.connection_pool, callbacks, transaction, None)
        self._line = line
        self._whole = transaction

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send all commands and return their answers; raises the first error among them, or
        leaves the errors in their places without `raise_on_error`."""
        stack: list[Command] = [(one[0], one[1]) for one in cast(Any, self.command_stack)]
        self.command_stack = []
        if not stack:
            return []
        wire = self._line.ready()
        commands = [args for args, _ in stack]
        if self._whole:
            commands = [("MULTI",), *commands, ("EXEC",)]
        wire.send_packed_command(wire.pack_commands(commands))
        answers = self._transacted(wire, stack) if self._whole else self._plain(wire, stack)
        if raise_on_error:
            for answer in answers:
                if isinstance(answer, ResponseError):
                    raise answer
        return answers

    def _plain(self, wire: Any, stack: list[Command]) -> list[Any]:
        answers: list[Any] = []
        for args, options in stack:
            try:
                answers.append(cast(Any, self).parse_response(wire, args[0], **options))
            except ResponseError as error:
                answers.append(error)
        return answers

    def _transacted(self, wire: Any, stack: list[Command]) -> list[Any]:
        refused: ResponseError | None = None
        for _ in range(len(stack) + 1):  # MULTI, and each command that is queued
            try:
                wire.read_response()
            except ResponseError as error:
                refused = refused or error
        try:
            answers = wire.read_response()
        except ResponseError as error:
            raise refused or error from None
        callbacks = cast(Any, self).response_callbacks
        for place, (args, options) in enumerate(stack):
            callback = callbacks.get(args[0])
            if callback and not isinstance(answers[place], ResponseError):
                options.pop("keys", None)
                answers[place] = callback(answers[place], **options)
        return list(answers)
