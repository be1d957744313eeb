"""Rows of all users in one stream, each with its user, however many there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar, cast

from django.db.models import QuerySet

from dsud.context import Block, use_user
from dsud.exceptions import FleetFailed
from dsud.fleet.outcomes import Outcome, Part, ReadOnly, Work
from dsud.fleet.workers import Processes, Threads, Workers, WorkersRefused, choose, run
from dsud.stepwise import run_inside

T = TypeVar("T")

#: Rows that are read, and sent from a worker, at a time.
BATCH = 500


def query(
    queryset_function: Callable[[str], Iterable[T]],
    users: Iterable[str] | None = None,
    *,
    workers: Workers = None,
) -> Iterator[tuple[str, T]]:
    """Yield each row of each user as ``(user_key, row)``, the users in order.

    ``queryset_function`` is called with each key, as that user, and returns a queryset; a row is
    what that yields: an instance, or what ``values()`` and ``values_list()`` make. An instance
    stays its user's: it can be used as that user only. Rows are read while they are taken, some
    hundred at a time; the databases refuse every change by the function, not by who takes the rows,
    who may meet rows that were written meanwhile.

    ``users`` and ``workers`` are those of ``for_each``; threads cannot be asked for. A database
    that fails stops nobody else; after the last row ``FleetFailed`` is raised, which names it.
    """
    chosen = choose(workers)
    if isinstance(chosen, Threads):
        if workers is not None:
            raise WorkersRefused("Rows are read by processes, or with workers=1; not by threads.")
        chosen = None
    return _rows(Reading(cast("Callable[[str], list[T]]", queryset_function)), users, chosen)


def _rows(
    reading: Reading[T], users: Iterable[str] | None, chosen: Processes | None
) -> Generator[tuple[str, T]]:
    outcomes = run(reading, users, chosen)
    try:
        for outcome in outcomes:
            for row in outcome.result or ():
                yield outcome.user_key, row
    finally:
        outcomes.close()
    if outcomes.failures:
        raise FleetFailed(outcomes.failures)


@dataclass(frozen=True)
class Reading(Work[list[T]]):
    """Rows to be read from each database, told some at a time."""

    read_only: bool = True

    def outcomes(self, key: str) -> Iterator[Outcome[list[T]]]:
        """Yield the rows of one database in parts, then how it ended."""
        error = None
        start = time.perf_counter()
        try:
            for batch in self._batches(key):
                yield Part(key, batch, None, 0.0)
        except Exception as raised:  # noqa: BLE001, because it is this user's failure, and is reported
            error = raised
        yield Outcome(key, None, error, time.perf_counter() - start)

    def _batches(self, key: str) -> Iterator[list[T]]:
        """Read as the user, but only while reading: who takes the rows is somebody else."""
        as_user = use_user(key)
        step = Block(as_user.activation, releases=False)
        read = run_inside(_batches_of, ReadOnly(key), ReadOnly(key))
        return iter(run_inside(read, as_user, step)(self.function, key))


def _batches_of(function: Callable[[str], Iterable[T]], key: str) -> Generator[list[T]]:
    rows = function(key)
    # Not remembered by the queryset, because there may be more than memory takes.
    left = rows.iterator(chunk_size=BATCH) if isinstance(rows, QuerySet) else iter(rows)
    while batch := list(islice(left, BATCH)):
        yield batch
