"""A worker process, seen from inside: takes databases in hand, one after the other, and tells of each."""

from __future__ import annotations

import gc
import pickle
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple, Protocol, TypeAlias

from django.db import connections

from dsud.connections import abandon_inherited, close_idle, release
from dsud.context import outside
from dsud.fleet.crossing import pack
from dsud.fleet.outcomes import Outcome, Part, Work

#: A database with its place in the order.
Task: TypeAlias = tuple[int, str]


class Told(NamedTuple):
    """What a worker tells: the place in the order, the seconds it took, the outcome or part of it."""

    place: int
    seconds: float
    packed: bytes
    is_last: bool


#: The position of a worker that has nothing in hand.
NOTHING = -1

#: Seconds for which outcomes of what can be repeated may be kept back, because each message costs its
#: reader.
KEPT_BACK = 0.02


class Shared(Protocol):
    """A number in memory that a worker shares with its parent, and that outlives the worker."""

    value: int


@dataclass(frozen=True)
class Board:
    """What a worker and its parent see of each other at any time."""

    #: The place in the order of the database that the worker has in hand.
    position: Shared
    #: Not 0 when nothing more shall be taken in hand.
    stopped: Shared


class Mouth:
    """Tells the parent what came of databases: at once, or a few at a time where they can be repeated."""

    def __init__(self, pipe: Connection, *, keeps_back: bool) -> None:
        self._pipe = pipe
        self._seconds = KEPT_BACK if keeps_back else 0.0
        self._since = time.perf_counter()
        self._kept: list[Told] = []
        self._is_within = False

    def tell(
        self, index: int, outcome: Outcome[object], *, fatal: BaseException | None = None
    ) -> None:
        """Tell of one database, now or with the next ones.

        What is told in parts is never kept back, because it cannot be told again.
        """
        is_last = not isinstance(outcome, Part)
        at_once = self._is_within or not is_last
        self._is_within = not is_last
        self._kept.append(Told(index, outcome.seconds, pack(outcome, fatal=fatal), is_last))
        if at_once or time.perf_counter() - self._since >= self._seconds:
            self.tell_rest()

    def tell_rest(self) -> None:
        """Tell what was kept back."""
        if self._kept:
            self._pipe.send_bytes(pickle.dumps(self._kept))
            self._kept = []
        self._since = time.perf_counter()


def serve(
    pipe: Connection, work: Work[object], board: Board, inherited: Iterable[Connection] = ()
) -> None:
    """Do the work to each database that comes through the pipe, until None or the end comes."""
    # Ctrl-C reaches all processes of a terminal; it is the parent that says when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in inherited:
        other.close()
    abandon_inherited()
    # What is inherited stays, and looking for garbage in it would copy it.
    gc.freeze()
    mouth = Mouth(pipe, keeps_back=work.read_only or work.is_repeatable)
    try:
        with outside():
            while (tasks := pipe.recv()) is not None:
                if not _do_all(tasks, work, board, mouth=mouth):
                    return
    except (EOFError, ConnectionError):
        return  # The parent is gone. What was in hand is done, and nobody is left to be told.
    finally:
        _close_all()


def serve_afresh(pipe: Connection, packed: bytes, board: Board) -> None:
    """Serve in a process that has inherited nothing."""
    serve(pipe, pickle.loads(packed), board)  # noqa: S301, because the parent packed it


def _do_all(tasks: Iterable[Task], work: Work[object], board: Board, *, mouth: Mouth) -> bool:
    """Take each database in hand; tell whether to go on."""
    for task in tasks:
        if board.stopped.value:
            break
        board.position.value = task[0]
        if not _do(task, work, board, mouth=mouth):
            break
    mouth.tell_rest()
    board.position.value = NOTHING
    return not board.stopped.value


def _do(task: Task, work: Work[object], board: Board, *, mouth: Mouth) -> bool:
    """Work on one database; tell whether to go on."""
    index, key = task
    try:
        for outcome in work.outcomes(key):
            mouth.tell(index, outcome)
            if board.stopped.value and isinstance(outcome, Part):
                return False  # What is merely read need not be read to the end.
    except ConnectionError:
        raise  # The parent is gone.
    except BaseException as fatal:  # noqa: BLE001, because it is raised again in the parent
        mouth.tell(index, Outcome(key, None, None, 0.0), fatal=fatal)
        return False
    finally:
        close_idle()
    return True


def _close_all() -> None:
    """Leave nothing that the next one who opens it would have to recover."""
    release()
    close_idle()
    connections.close_all()
