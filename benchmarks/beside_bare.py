"""Visits to our site, beside which bare ``sqlite3`` opens files of the site's; runs in its process."""

from __future__ import annotations

import random
import time
from contextlib import closing
from functools import cache

from django.contrib.auth import get_user_model

from benchmarks.bare_visits import SELECT
from benchmarks.floor import open_database
from benchmarks.returning import file_of
from benchmarks.visits import choose, fill, handles, visit, visit_once, visitors_of

__all__ = ["fill", "handles", "visit", "visit_beside_bare"]


def visit_beside_bare(
    *, path: str, times: int, among: int, share: float, synchronous: str, seed: int
) -> dict[str, object]:
    """Visit as the first ``among`` users, and have a share of the visits wait for a bare opening.

    It opens the file of somebody else, lists their notes and closes it, as whoever finds a database
    closed has to do at least; the visit itself finds its own open.
    """
    chance = random.Random(seed)  # noqa: S311, because it chooses what to measure
    chosen = choose(visitors_of(among), times=times, order="uniform", seed=seed)
    begun, worked = time.perf_counter(), time.process_time()
    for visitor in chosen:
        if chance.random() < share:
            file = chance.choice(_files()[among:])
            with closing(open_database(file, synchronous=synchronous)) as raw:
                raw.execute(SELECT).fetchall()
        visit_once(path, visitor)
    return {
        "each": [0.0] * times,  # Not looked at: a visit and its opening are one, and are counted.
        "all": time.perf_counter() - begun,
        "processor": time.process_time() - worked,
    }


@cache
def _files() -> list[str]:
    """Return the files of all users, in the order in which they signed up."""
    users = get_user_model().objects.order_by("pk")
    return [file_of(user) for user in users]
