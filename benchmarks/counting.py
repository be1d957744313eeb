"""How many functions a warm request calls, in a contender's own process: the same on every machine."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType

from benchmarks.visits import fill, visit_once

__all__ = ["calls", "fill"]


def calls(*, path: str, sessions: list[str]) -> dict[str, int]:
    """Return how many functions one warm request calls, those of C included, by their files."""
    for session in sessions * 4:
        visit_once(path, session)
    found = []
    for session in sessions:
        counted = _counted(visit_once, path, session)
        merged: Counter[str] = Counter()
        for name, number in counted.items():
            merged[_short(name)] += number
        found.append(merged)
    return min(found, key=Counter.total)


def _counted(function: Callable[..., object], *arguments: str) -> Counter[str]:
    found: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            found[frame.f_code.co_filename] += 1

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        function(*arguments)
    finally:
        sys.setprofile(previous)
    return found


def _short(name: str) -> str:
    for root in ("/site-packages/", "/src/"):
        if root in name:
            return name.partition(root)[2]
    return "the site" if "/benchmarks/" in name else "the standard library"
