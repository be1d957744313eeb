"""Who does the work: this thread, several threads, or processes that are replaced when they die."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from django.db import DEFAULT_DB_ALIAS, transaction

from dsud import transactions
from dsud.connections import none_kept
from dsud.engines.scratch import in_tests
from dsud.exceptions import DSUDError
from dsud.fleet.outcomes import Outcome, Outcomes, Stop, Work
from dsud.fleet.processes import Crew
from dsud.fleet.selection import keys
from dsud.fleet.threads import with_threads

R = TypeVar("R")


class WorkersRefused(DSUDError):
    """Raised when processes or threads cannot do what was asked, here and now."""


@dataclass(frozen=True)
class Processes:
    """Have processes do the work: ``count`` of them, by default one for each core.

    With ``"fork"``, the default but on macOS, they inherit the function with all that it refers to.
    With ``"spawn"`` they start afresh, and the function must be one that can be pickled.
    """

    count: int | None = None
    method: Literal["fork", "spawn"] | None = None


@dataclass(frozen=True)
class Threads:
    """Have threads of this process do the work: ``count`` of them, by default one for each core."""

    count: int | None = None


Workers: TypeAlias = int | Processes | Threads | None


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def for_each(
    function: Callable[[str], R],
    users: Iterable[str] | None = None,
    *,
    workers: Workers = None,
    read_only: bool = False,
) -> Outcomes[R]:
    """Call a function with the key of each user, as that user, and tell every outcome in order.

    One user's failure stops nobody else. The work is done while the outcomes are taken. ``users``
    are keys, by default those of all user databases; they are read as they are needed.

    ``workers`` is how many processes work side by side, or ``Processes(...)``, or
    ``Threads(...)``; 1 means this very thread, and the default is one process for each core.
    In tests a number means this very thread, too, as does everything inside a ``TestCase``.

    With ``read_only`` the databases themselves refuse every change.
    """
    return run(Work(function, read_only=read_only), users, choose(workers))


def run(
    work: Work[R], users: Iterable[str] | None, chosen: Processes | Threads | None
) -> Outcomes[R]:
    """Have work done to each database by those who were chosen."""
    stop = Stop()
    found = keys() if users is None else users
    return Outcomes(_steps(work, found, chosen, stop), stop=stop)


def _steps(
    work: Work[R], users: Iterable[str], chosen: Processes | Threads | None, stop: Stop
) -> Generator[Outcome[R]]:
    if chosen is None:
        return one_by_one(work, users, stop)
    count = max(1, chosen.count or cores())
    if isinstance(chosen, Threads):
        return with_threads(work, users, stop, count=count)
    return Crew(work, users, stop, count=count, method=chosen.method or _usual_method()).outcomes()


def one_by_one(work: Work[R], users: Iterable[str], stop: Stop) -> Generator[Outcome[R]]:
    """Do the work in this thread."""
    for key in users:
        if stop:
            return
        outcomes = work.outcomes(key)
        while True:
            with none_kept():
                outcome = next(outcomes, None)
            if outcome is None:
                break
            yield outcome


def choose(workers: Workers) -> Processes | Threads | None:
    """Return who works; None is this very thread.

    Raises ``WorkersRefused`` when those who were asked for cannot.
    """
    if workers == 1 or transactions.is_of_a_test():
        return None  # Where databases may be in memory, and are this thread's alone.
    in_transaction = transaction.get_connection(DEFAULT_DB_ALIAS).in_atomic_block
    if workers is None:
        return None if in_transaction or in_tests() else _default()
    if isinstance(workers, int):
        if workers < 1:
            raise WorkersRefused(f"{workers} workers do nothing. Ask for 1 or more.")
        if in_tests():
            return None
        workers = Processes(workers)
    if in_transaction:
        raise WorkersRefused(
            "Workers take no part in the transaction that is open here, and would wait for it."
            " Ask for them outside of it, or pass workers=1."
        )
    if in_tests() and isinstance(workers, Processes) and workers.method == "spawn":
        raise WorkersRefused(
            "A process that starts afresh in a test would reach the databases of the site."
            ' Pass Processes(method="fork") or workers=1.'
        )
    return workers


def _default() -> Processes | Threads:
    """Return processes, but threads where a fork would freeze the locks of other threads."""
    if multiprocessing.current_process().daemon or threading.active_count() > 1:
        return Threads()
    return Threads() if _usual_method() == "spawn" else Processes()


def _usual_method() -> Literal["fork", "spawn"]:
    # macOS's own libraries do not survive a fork (https://bugs.python.org/issue33725).
    return "spawn" if sys.platform == "darwin" else "fork"
