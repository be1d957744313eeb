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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.core.handlers.wsgi import WSGIHandler

LIST, CREATE, ACCOUNT = "/notes/", "/notes/new/", "/account/"

_sessions: list[str] = []


def fill(*, users: int, notes: int) -> list[str]:
    """Make the site with so many users and notes of each; return the keys of their sessions."""
    from benchmarks import filling

    _sessions.extend(filling.fill(users=users, notes=notes))
    return _sessions


def know(*, sessions: list[str]) -> None:
    """Take over the keys of the sessions of a site that another process has filled."""
    _sessions.extend(sessions)


def visit(
    *,
    path: str,
    times: int,
    among: int = 0,
    order: str = "uniform",
    threads: int = 1,
    seed: int = 0,
) -> dict[str, object]:
    """Visit so many times as the first ``among`` users; return the seconds of each and of all.

    ``order`` is "uniform" or "zipf", where the user of rank n comes once for n times of the first.
    """
    chosen = choose(sessions_of(among), times=times, order=order, seed=seed)
    begun, worked = time.perf_counter(), time.process_time()
    if threads == 1:
        seconds = _visit_each(path, chosen)
    else:
        parts = [chosen[number::threads] for number in range(threads)]
        found = _threads(threads).map(lambda part: _visit_each(path, part), parts)
        seconds = [each for part in found for each in part]
    return {
        "each": seconds,
        "all": time.perf_counter() - begun,
        "processor": time.process_time() - worked,
    }


def sessions_of(among: int) -> list[str]:
    """Return the sessions of the first users, or of all."""
    return _sessions[: among or None]


def choose(sessions: list[str], *, times: int, order: str, seed: int) -> list[str]:
    """Return whose visits they are: the same for every contender that is told the same."""
    chance = random.Random(seed)  # noqa: S311, because it chooses whom to measure
    if order == "zipf":
        weights = list(accumulate(1 / rank for rank in range(1, len(sessions) + 1)))
        return chance.choices(sessions, cum_weights=weights, k=times)
    return chance.choices(sessions, k=times)


@cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number)


def _visit_each(path: str, sessions: list[str]) -> list[float]:
    seconds = []
    for session in sessions:
        begun = time.perf_counter()
        visit_once(path, session)
        seconds.append(time.perf_counter() - begun)
    return seconds


def visit_once(path: str, session: str) -> bytes:
    """Have one request answered as a server would, and raise unless the answer is a good one."""
    statuses: list[str] = []

    def begin(status: str, headers: object, error: object = None, /) -> Callable[[bytes], object]:
        statuses.append(status)
        return bytes

    answer = _application()(_environ(path, session), begin)
    body = b"".join(answer)
    answer.close()
    if not statuses[0].startswith("2"):
        raise RuntimeError(f"{path} was answered with {statuses[0]}.")
    return body


@cache
def _application() -> WSGIHandler:
    from benchmarks.diary.application import application

    return application


def _environ(path: str, session: str) -> dict[str, object]:
    return {
        "REQUEST_METHOD": "POST" if path == CREATE else "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_LENGTH": "0" if path == CREATE else "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1",
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
