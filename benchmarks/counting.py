"""How many functions a warm request calls, in a contender's own process: the same on every machine."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from benchmarks.visits import fill, visit_once

if TYPE_CHECKING:
    from benchmarks.diary.people import Visitor

__all__ = ["calls", "fill"]


def calls(*, path: str, visitors: list[Visitor]) -> dict[str, int]:
    """Return how many functions one warm request calls, those of C included, by their files."""
    for visitor in visitors * 4:
        visit_once(path, visitor)
    found = []
    for visitor in visitors:
        counted = _counted(partial(visit_once, path, visitor))
        merged: Counter[str] = Counter()
        for name, number in counted.items():
            merged[_short(name)] += number
        found.append(merged)
    return min(found, key=Counter.total)


def _counted(call: Callable[[], object]) -> Counter[str]:
    found: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            found[frame.f_code.co_filename] += 1

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(previous)
    return found


def _short(name: str) -> str:
    for root in ("/site-packages/", "/src/"):
        if root in name:
            return name.partition(root)[2]
    return "the site" if "/benchmarks/" in name else "the standard library"
