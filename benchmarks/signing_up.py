"""What a sign-up costs on a site; runs in the site's process, whichever site it is."""

from __future__ import annotations

from itertools import count, islice
from time import perf_counter

from django.db import connections, transaction

from benchmarks import filling, floor
from benchmarks.diary import people
from benchmarks.diary.views import note_model

_numbers = count(1)


def prepare() -> None:
    """Make the tables of the site, and what its first user makes once for all."""
    filling.fill(users=3, notes=0)
    sign_up(times=3)


def sign_up(*, times: int, query: str = "") -> list[float]:
    """Sign so many users up, each in a transaction; return how long each took.

    Each is asked a query of their notes, if one is told.
    """
    return [_signed_up(f"newcomer{number}", query) for number in islice(_numbers, times)]


def _signed_up(name: str, query: str) -> float:
    begun = perf_counter()
    with transaction.atomic():
        user = people.person(name)
    if query:
        with people.acting_as(user):
            rows = _asked(query)
        if rows:
            raise AssertionError(f"{name} is new, but has notes: {rows}")
    return perf_counter() - begun


def _asked(query: str) -> list[tuple[object, ...]]:
    """Return what a statement finds, without the ORM, as the floor does."""
    with connections[note_model()._default_manager.db].cursor() as cursor:
        cursor.execute(query)
        rows: list[tuple[object, ...]] = cursor.fetchall()
        return rows


def write_bare(
    *, template: str, times: int, syncs_directory: bool, query: str, apart: bool
) -> list[float]:
    """Have ``sqlite3`` alone make and ask databases in this process, each after a sign-up.

    So it finds the caches of the processor as whatever follows a sign-up does.
    """
    seconds = []
    for _ in range(times):
        sign_up(times=1)
        seconds += floor.write_template(
            template=template, times=1, syncs_directory=syncs_directory, query=query, apart=apart
        )
    return seconds
