"""Requests through the WSGI application itself: no server, no network, one thread and sixteen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import field, turns
from benchmarks.contenders import Contender
from benchmarks.figures import RATIO, Figure, Panel
from benchmarks.turns import Turn, processor, ratio, typical
from benchmarks.visits import CREATE, LIST

USERS, NOTES = 50, 100

#: Visits in one turn: once for each user, on average.
TURN = 50

THREADS = 16

#: Visits in one turn of all threads, and turns before they are measured. By then most threads have
#: met most users: a thread has a connection of Django's for each, and makes it when it first meets one.
TURN_OF_THREADS, MEETINGS = 320, 4

ENTRANTS = (field.OURS, field.SQLITE, field.FLOOR, field.UNKEPT, field.POSTGRESQL)
DSUD, PLAIN, FLOOR, UNKEPT, POSTGRESQL = (each.name for each in ENTRANTS)

#: Whose lists are compared once more, each in so many processes.
PAIR = (DSUD, PLAIN)
PROCESSES = 5
WORK = {"list": (LIST, 1.05), "create, FULL": (CREATE, 1.10)}


def measure(
    *, rounds: int, quick: bool, absent: dict[str, str]
) -> tuple[list[Figure], list[Panel]]:
    """Let all contenders list and create, turn by turn; with FULL, then with NORMAL.

    A quick run asks those who need no server, with FULL.
    """
    figures: list[Figure] = []
    panels: list[Panel] = []
    for synchronous in ("FULL",) if quick else ("FULL", "NORMAL"):
        durable = {"BENCH_SYNCHRONOUS": synchronous}
        with ExitStack() as stack:
            gathered = field.gather(ENTRANTS, environment=durable, quick=quick)
            sites, missing = stack.enter_context(gathered)
            absent.update(missing)
            contenders = [stack.enter_context(each.visits()) for each in sites]
            filled = [each.ask("fill", users=USERS, notes=NOTES) for each in contenders]
            found, charts = _compare(contenders, rounds=rounds, synchronous=synchronous)
            if not quick and synchronous == "FULL":
                both = [pair for pair in zip(sites, filled, strict=True) if pair[0].name in PAIR]
                found += _alone_together(both, rounds=rounds)
        figures += found
        panels += charts
    return figures, panels


def _alone_together(
    both: Sequence[tuple[field.Site, list[str]]], *, rounds: int
) -> Iterator[Figure]:
    """Compare the two alone, in fresh processes.

    Because two processes of the same site differ by some per cent, and because others who take turns
    leave work for the disk.
    """
    found: dict[str, dict[str, list[Turn]]] = {what: {name: [] for name in PAIR} for what in WORK}
    for number in range(PROCESSES):
        with ExitStack() as stack:
            contenders = []
            for site, sessions in both:
                contenders.append(stack.enter_context(site.visits()))
                contenders[-1].ask("know", sessions=sessions)
            for what, (path, _) in WORK.items():
                visits: dict[str, Any] = {"path": path, "times": TURN}
                turns.take_turns(contenders, rounds=2, **visits)  # To warm up.
                more = turns.take_turns(contenders, rounds=rounds, first=number * rounds, **visits)
                for name, each in more.items():
                    found[what][name] += each
    for what, (_, at_most) in WORK.items():
        against = ratio(found[what][DSUD], found[what][PLAIN])
        name = f"{what}: dsud against plain, {PROCESSES} processes of each"
        yield Figure(name, against, RATIO, at_most, floor=1.0)


def _compare(
    contenders: Sequence[Contender], *, rounds: int, synchronous: str
) -> tuple[list[Figure], list[Panel]]:
    figures: list[Figure] = []
    panels = []
    with_threads = [each for each in contenders if each.name in (DSUD, PLAIN, UNKEPT)]
    for what, path, at_most in (("list", LIST, 1.05), ("create", CREATE, 1.10)):
        if (what, synchronous) == ("list", "NORMAL"):
            continue  # Because what only reads is never durable.
        name = f"{what}, {synchronous}" if what == "create" else what
        turns.take_turns(contenders, rounds=2, path=path, times=TURN)  # To warm up.
        found = turns.take_turns(contenders, rounds=rounds, path=path, times=TURN)
        judged = None if UNKEPT in found and synchronous == "FULL" else at_most
        figures += _alone(name, found, at_most=judged)
        bars = {each: typical(taken) * 1000 for each, taken in found.items()}
        panels.append(Panel(f"{name}: one request, WSGI, one thread", "ms", bars))
        if UNKEPT not in found:
            continue
        crowd: dict[str, Any] = {"path": path, "times": TURN_OF_THREADS, "threads": THREADS}
        turns.take_turns(with_threads, rounds=MEETINGS, **crowd)
        # Others than those of before, or threads would meet the same users in the same order.
        threaded = turns.take_turns(with_threads, rounds=rounds, first=MEETINGS, **crowd)
        figures += _together(name, threaded, at_most=at_most if what == "list" else None)
    return figures, panels


def _alone(name: str, found: dict[str, list[Turn]], *, at_most: float | None) -> Iterator[Figure]:
    ours, plain = found[DSUD], found[PLAIN]
    yield Figure(f"{name}: bare sqlite3", typical(found[FLOOR]) * 1000, "ms")
    yield Figure(f"{name}: plain Django", typical(plain) * 1000, "ms")
    yield Figure(f"{name}: dsud", typical(ours) * 1000, "ms")
    yield Figure(f"{name}: dsud against plain", ratio(ours, plain), RATIO, at_most, floor=1.0)
    yield Figure("    in processor time", ratio(ours, plain, processor), RATIO)
    if UNKEPT in found:
        against = ratio(found[UNKEPT], ours)
        yield Figure("    plain with CONN_MAX_AGE=0 against dsud", against, RATIO, at_least=1.5)


def _together(
    name: str, found: dict[str, list[Turn]], *, at_most: float | None
) -> Iterator[Figure]:
    ours, plain = found[DSUD], found[PLAIN]
    yield Figure(
        f"{name}, {THREADS} threads: dsud against plain, time for all",
        ratio(ours, plain, lambda turn: turn["all"]),
        RATIO,
        at_most,
    )
    yield Figure("    p99 against plain", ratio(ours, plain, turns.p99), RATIO)
