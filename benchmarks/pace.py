"""How fast threads do something: how long each time takes, how often it is done, how often it fails."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

#: How long each write took, how many were done in time, and how many failed with what.
Written = tuple[list[float], int, Counter[str]]


def measured(do: Callable[[], object], *, seconds: float, at: float) -> Written:
    """Do something again and again for so many seconds from a moment on."""
    taken: list[float] = []
    errors: Counter[str] = Counter()
    in_time, end = 0, at + seconds
    time.sleep(max(0.0, at - time.time()))
    while (begun := time.time()) < end:
        try:
            do()
        except Exception as error:  # noqa: BLE001, because errors are counted
            errors[f"{type(error).__name__}: {error}"] += 1
            continue
        done = time.time()
        taken.append(done - begun)
        in_time += done <= end
    return taken, in_time, errors


def together(written: Sequence[Written]) -> dict[str, object]:
    """Return what all threads did."""
    return {
        "taken": [round(each, 6) for taken, *_ in written for each in taken],
        "in_time": sum(in_time for _, in_time, _ in written),
        "errors": dict(sum((errors for *_, errors in written), Counter[str]())),
    }
