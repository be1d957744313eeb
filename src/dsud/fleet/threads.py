"""Threads of this process that share the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from django.db import DEFAULT_DB_ALIAS, connections

from dsud.connections import none_kept
from dsud.context import outside
from dsud.fleet.outcomes import Outcome, Stop, Work

R = TypeVar("R")

#: Outcomes, for each thread, that may wait for one that is slow and whose turn it is.
AHEAD = 250


def with_threads(
    work: Work[R], users: Iterable[str], stop: Stop, *, count: int
) -> Generator[Outcome[R]]:
    """Do the work with ``count`` threads, and yield the outcomes in order."""
    left = iter(users)
    waiting: deque[Future[list[Outcome[R]]]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="dsud-fleet") as executor:
        try:
            while True:
                for key in islice(left, count * AHEAD - len(waiting)):
                    waiting.append(executor.submit(_one, work, key, stop))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            stop_waiting(waiting)


def stop_waiting(waiting: Iterable[Future[list[Outcome[R]]]]) -> None:
    """Take back what no thread has begun."""
    for future in waiting:
        future.cancel()


def _one(work: Work[R], key: str, stop: Stop) -> list[Outcome[R]]:
    if stop:
        return []
    try:
        with outside(), none_kept():
            return list(work.outcomes(key))
    finally:
        connections[DEFAULT_DB_ALIAS].close()
