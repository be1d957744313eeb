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
    """Ask all databases, turn by turn, by bare loops and by the fleet."""
    from dsud import fleet
    from dsud.engines import engine

    keys = list(fleet.keys())
    paths = [f"file:{engine().path_of(key)}?mode=ro" for key in keys]
    asking: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(paths),
        "crew": lambda: bare_crew(paths),
        "shared": lambda: ours(keys, workers=None),
        "alone": lambda: ours(keys, workers=1),
    }
    if not asking["bare"]() == asking["shared"]() == asking["alone"]():
        raise RuntimeError("The fleet counts otherwise than the bare loop.")
    seconds: dict[str, list[float]] = {name: [] for name in asking}
    processor: dict[str, list[float]] = {name: [] for name in asking}
    for _ in range(rounds):
        for name, ask in asking.items():
            lasted, worked = timed(ask)
            seconds[name].append(lasted)
            processor[name].append(worked)
    mine, its = processor["alone"], processor["bare"]
    return {**seconds, "cpu": [one / other for one, other in zip(mine, its, strict=True)]}


def bare(paths: list[str]) -> tuple[int, int]:
    """Open each database, ask it, and close it."""
    rows, total = 0, 0
    for path in paths:
        with closing(sqlite3.connect(path, uri=True)) as raw:
            more, amount = raw.execute(
                "SELECT COUNT(*), SUM(amount) FROM fleet_site_entry"
            ).fetchone()
        rows, total = rows + more, total + amount
    return rows, total


def bare_crew(paths: list[str]) -> None:
    """Have as many processes as ours share the bare loop, forked as ours are."""
    from dsud.fleet.workers import cores

    fork = multiprocessing.get_context("fork")
    count = cores()
    crew = [fork.Process(target=bare, args=[paths[place::count]]) for place in range(count)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()


def ours(keys: list[str], *, workers: int | None) -> tuple[object, object]:
    """Ask each database by the fleet."""
    from benchmarks.fleet_site.models import Entry
    from dsud import fleet

    result = fleet.aggregate(
        lambda key: Entry.objects.all(),
        keys,
        workers=workers,
        rows=Count("*"),
        total=Sum("amount"),
    )
    return result["rows"], result["total"]


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
