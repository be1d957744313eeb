"""Makes the databases of a fleet, asks them, and prints how long it took and what it took."""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
import resource
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle, islice
from time import perf_counter, process_time

import django
from django.core.management import call_command
from django.db import connection
from django.db.models import Count, Sum

ROWS = 20

#: Who asks, in turn: a bare loop, bare loops in as many processes as ours, ours by default, ours alone.
NAMES = ("bare", "crew", "shared", "alone")


def main() -> None:
    """Print the figures as JSON."""
    count, rounds = int(sys.argv[1]), int(sys.argv[2])
    django.setup()
    call_command("migrate", verbosity=0)
    make(count)
    json.dump({**asked(rounds), "walked": walked(count)}, sys.stdout)


def make(count: int) -> None:
    """Make users with databases, each with rows."""
    from django.contrib.auth.models import User

    from benchmarks.fleet_site.models import Entry
    from dsud import provisioning, use_user

    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = OFF")
    User.objects.bulk_create(User(username=f"user{number}") for number in range(count))
    day = dt.date(2026, 1, 1)
    for pk in User.objects.values_list("pk", flat=True):
        provisioning.provision(str(pk))
        with use_user(pk):
            Entry.objects.bulk_create(
                Entry(text=f"entry {row}", amount=row * pk, day=day) for row in range(ROWS)
            )


def asked(rounds: int) -> dict[str, list[float]]:
    """Ask all databases, turn by turn, by a bare loop and by the fleet."""
    from benchmarks.fleet_site.models import Entry
    from dsud import fleet
    from dsud.engines import engine
    from dsud.fleet.workers import cores

    keys = list(fleet.keys())
    paths = [f"file:{engine().path_of(key)}?mode=ro" for key in keys]  # type: ignore[attr-defined]
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    processor: dict[str, list[float]] = {name: [] for name in NAMES}

    def bare(some: slice = slice(None)) -> tuple[int, int]:
        rows, total = 0, 0
        for path in paths[some]:
            with closing(sqlite3.connect(path, uri=True)) as raw:
                more, amount = raw.execute(
                    "SELECT COUNT(*), SUM(amount) FROM fleet_site_entry"
                ).fetchone()
            rows, total = rows + more, total + amount
        return rows, total

    def crew() -> None:
        """Have as many processes as ours share the bare loop, with nothing but their start-up around it."""
        count = cores()
        forked = [
            multiprocessing.get_context("fork").Process(target=bare, args=[slice(n, None, count)])
            for n in range(count)
        ]
        for process in forked:
            process.start()
        for process in forked:
            process.join()

    def ours(workers: int | None) -> tuple[object, object]:
        result = fleet.aggregate(
            lambda key: Entry.objects.all(),
            keys,
            workers=workers,
            rows=Count("*"),
            total=Sum("amount"),
        )
        return result["rows"], result["total"]

    if not bare() == ours(None) == ours(1):
        raise RuntimeError("The fleet counts otherwise than the bare loop.")
    for _ in range(rounds):
        for name, ask in (
            ("bare", bare),
            ("crew", crew),
            ("shared", lambda: ours(None)),
            ("alone", lambda: ours(1)),
        ):
            seconds, cpu = timed(ask)
            found[name].append(seconds)
            processor[name].append(cpu)
    mine, its = processor["alone"], processor["bare"]
    return {**found, "cpu": [one / other for one, other in zip(mine, its, strict=True)]}


def timed(ask: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds, and those of this processor, that something takes."""
    begun, cpu = perf_counter(), process_time()
    ask()
    return perf_counter() - begun, process_time() - cpu


def walked(count: int) -> list[float]:
    """Return the MB of the largest process after walking over ``count`` keys, and ten times as many."""
    from dsud import fleet

    def keys(number: int) -> Iterator[str]:
        return islice(cycle(known), number)

    known = list(islice(fleet.keys(), 200))
    peaks = []
    for number in (count, 10 * count):
        for outcome in fleet.for_each(len, keys(number), workers=fleet.Processes(2)):
            if outcome.error is not None:
                raise outcome.error
        peaks.append(peak())
    return peaks


def peak() -> float:
    """Return the MB that this process, or the largest of its children, has had at most."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    kilobytes = max(resource.getrusage(each).ru_maxrss for each in who)
    return kilobytes / 1024


if __name__ == "__main__":
    main()
