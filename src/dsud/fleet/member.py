"""One worker process, seen from the one that started it: what it was given, and how it ended."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal, TypeAlias, TypeVar, cast

from dsud import fresh
from dsud.exceptions import DSUDError
from dsud.fleet.outcomes import Work
from dsud.fleet.worker import NOTHING, Board, Shared, Task, Told, serve

R = TypeVar("R")

Method: TypeAlias = Literal["fork", "spawn"]

FORK: Method = "fork"

#: What a process calls that has inherited nothing.
AFRESH = "dsud.fleet.worker.serve_afresh"


class NotPicklable(DSUDError):
    """Raised when a function cannot be sent to a process that starts afresh."""


def packed_work(work: Work[R], method: Method) -> Work[R] | bytes:
    """Return the work as a worker takes it: as it is when it is inherited, else as bytes."""
    if method == FORK:
        return work
    try:
        return pickle.dumps(work)
    except Exception as error:
        raise NotPicklable(
            f"{work.function!r} cannot be sent to a process that starts afresh: {error}."
            " Give a function of a module, workers=1, or Threads()."
        ) from error


class Member:
    """A worker process; its pipe ends when the process does."""

    def __init__(
        self,
        work: Work[R] | bytes,
        *,
        method: Method,
        stopped: Shared,
        others: Iterable[Connection],
    ) -> None:
        context: Any = multiprocessing.get_context(method)  # Its ``Process`` is on the subclasses.
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.given: deque[Task] = deque()
        self.how_it_ended = ""
        self._position: Shared = context.RawValue("q", NOTHING)
        self._is_dismissed = False
        board = Board(self._position, stopped)
        self._process: BaseProcess
        if method == FORK:
            # Each closes its parent's ends, lest it holds them open when the parent is gone.
            arguments = (theirs, work, board, [self.pipe, *others])
            self._process = context.Process(target=serve, args=arguments)
        else:
            self._process = context.Process(target=fresh.run, args=(AFRESH, theirs, work, board))
        self._process.start()
        theirs.close()

    def give(self, tasks: list[Task]) -> None:
        """Hand over databases to work on."""
        self.given.extend(tasks)
        with suppress(ConnectionError):  # It has died, which is what we hear next.
            self.pipe.send(tasks)

    def dismiss(self) -> None:
        """Tell the worker, once, that nothing more comes."""
        if not self._is_dismissed:
            self._is_dismissed = True
            with suppress(ConnectionError):
                self.pipe.send(None)

    def hear(self) -> list[Told]:
        """Return what the worker tells; raise ``EOFError`` or ``ConnectionError`` at its end."""
        told: list[Told] = pickle.loads(self.pipe.recv_bytes())  # noqa: S301, because our own worker wrote it
        for each in told:
            if each.is_last:
                self.given.popleft()
        return told

    def bury(self) -> tuple[Task | None, list[Task]]:
        """See the process to its end; return what it had in hand, and what it had not begun."""
        self.pipe.close()
        self._process.join()
        self.how_it_ended = _how_it_ended(cast("int", self._process.exitcode))
        self._process.close()
        in_hand = [task for task in self.given if task[0] == self._position.value]
        left = [task for task in self.given if task not in in_hand]
        return (in_hand[0] if in_hand else None), left

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self.bury()


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
