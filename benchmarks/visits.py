"""Visits to the site of the settings through its WSGI application, in a contender's own process.

Runs in environments of their own too, so it imports nothing but the standard library and Django.
"""

from __future__ import annotations

import io
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.core.handlers.wsgi import WSGIHandler

    from benchmarks.diary.people import Visitor

T = TypeVar("T")

LIST, CREATE, ACCOUNT = "/notes/", "/notes/new/", "/account/"

_visitors: list[Visitor] = []


class BadAnswer(Exception):
    """Raised when a request was not answered with what it asked for."""


def fill(*, users: int, notes: int) -> list[Visitor]:
    """Make the site with so many users and notes of each; return them as visitors."""
    from benchmarks import filling

    _visitors.extend(filling.fill(users=users, notes=notes))
    return _visitors


def know(*, visitors: list[Visitor]) -> None:
    """Take over the visitors of a site that another process has filled."""
    _visitors.extend(visitors)


def visit(
    *,
    path: str,
    times: int,
    among: int = 0,
    order: str = "uniform",
    threads: int = 1,
    seed: int = 0,
    may_fail: bool = False,
) -> dict[str, object]:
    """Visit so many times as the first ``among`` users; return the seconds of each and of all.

    A bad answer is an error, or is counted where it may be one.
    ``order`` is "uniform" or "zipf", where the user of rank n comes once for n times of the first.
    """
    chosen = choose(visitors_of(among), times=times, order=order, seed=seed)
    begun, worked = time.perf_counter(), time.process_time()
    if threads == 1:
        seconds = _visit_each(path, chosen, may_fail=may_fail)
    else:
        parts = [chosen[number::threads] for number in range(threads)]
        found = _threads(threads).map(
            lambda part: _visit_each(path, part, may_fail=may_fail), parts
        )
        seconds = [each for part in found for each in part]
    return {
        "each": seconds,
        "failed": len(chosen) - len(seconds),
        "all": time.perf_counter() - begun,
        "processor": time.process_time() - worked,
    }


def visitors_of(among: int) -> list[Visitor]:
    """Return the first of them, or all."""
    return _visitors[: among or None]


def choose(visitors: list[T], *, times: int, order: str, seed: int) -> list[T]:
    """Return whose visits they are: the same for every contender that is told the same."""
    chance = random.Random(seed)  # noqa: S311, because it chooses whom to measure
    if order == "zipf":
        weights = list(accumulate(1 / rank for rank in range(1, len(visitors) + 1)))
        return chance.choices(visitors, cum_weights=weights, k=times)
    return chance.choices(visitors, k=times)


@cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number)


def _visit_each(path: str, visitors: list[Visitor], *, may_fail: bool) -> list[float]:
    seconds = []
    for visitor in visitors:
        begun = time.perf_counter()
        try:
            visit_once(path, visitor)
        except BadAnswer:
            if not may_fail:
                raise
            continue
        seconds.append(time.perf_counter() - begun)
    return seconds


def visit_once(path: str, visitor: Visitor) -> bytes:
    """Have one request answered as a server would, and raise unless the answer is a good one."""
    statuses: list[str] = []

    def begin(status: str, headers: object, error: object = None, /) -> Callable[[bytes], object]:
        statuses.append(status)
        return bytes

    answer = _application()(_environ(path, visitor), begin)
    body = b"".join(answer)
    answer.close()
    if not statuses[0].startswith("2"):
        raise BadAnswer(f"{path} was answered with {statuses[0]}.")
    return body


@cache
def _application() -> WSGIHandler:
    from benchmarks.diary.application import application

    return application


def _environ(path: str, visitor: Visitor) -> dict[str, object]:
    session, host = visitor
    return {
        "REQUEST_METHOD": "POST" if path == CREATE else "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_LENGTH": "0" if path == CREATE else "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": host,
        "HTTP_COOKIE": f"sessionid={session}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def handles() -> int:
    """Return how many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
