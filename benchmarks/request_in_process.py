"""Requests through the WSGI application itself: no server, no network, one thread and sixteen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

#: Who is compared with nobody else, each in so many processes, and in so many turns of all threads.
PAIR = (DSUD, PLAIN)
PROCESSES = 3
CROWDS = 6

#: What is done, by its name: the path that is visited, and how many times as long it may take.
Work = Mapping[str, tuple[str, float]]

#: The work for each durability; what only reads is never durable.
WORK: Mapping[str, Work] = {
    "FULL": {"list": (LIST, 1.05), "create, FULL": (CREATE, 1.10)},
    "NORMAL": {"create, NORMAL": (CREATE, 1.10)},
}


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
            found, charts = _compare(contenders, WORK[synchronous], rounds=rounds, quick=quick)
            if not quick:
                both = [each for each in zip(sites, filled, strict=True) if each[0].name in PAIR]
                found += _compare_pairs(both, WORK[synchronous], rounds=rounds)
        figures += found
        panels += charts
    return figures, panels


def _compare(
    contenders: Sequence[Contender], work: Work, *, rounds: int, quick: bool
) -> tuple[list[Figure], list[Panel]]:
    figures: list[Figure] = []
    panels = []
    for name, (path, at_most) in work.items():
        turns.take_turns(contenders, rounds=2, path=path, times=TURN)  # To warm up.
        found = turns.take_turns(contenders, rounds=rounds, path=path, times=TURN)
        figures += _alone(name, found, at_most=at_most if quick else None)
        bars = {each: typical(taken) * 1000 for each, taken in found.items()}
        panels.append(Panel(f"{name}: one request, WSGI, one thread", "ms", bars))
    return figures, panels


def _compare_pairs(
    both: Sequence[tuple[field.Site, list[str]]], work: Work, *, rounds: int
) -> Iterator[Figure]:
    """Compare dsud and plain Django with nobody else, in fresh processes, by all of their turns.

    Because two processes of the same site differ by some per cent, and because others who take turns
    leave something behind that slows the next one.
    """
    alone: dict[str, dict[str, list[Turn]]] = {what: {name: [] for name in PAIR} for what in work}
    together: dict[str, dict[str, list[Turn]]] = {
        what: {name: [] for name in PAIR} for what in work
    }
    for number in range(PROCESSES):
        with ExitStack() as stack:
            pair = []
            for site, sessions in both:
                pair.append(stack.enter_context(site.visits()))
                pair[-1].ask("know", sessions=sessions)
            first = number * rounds
            for what, (path, _) in work.items():
                one: dict[str, Any] = {"path": path, "times": TURN}
                turns.take_turns(pair, rounds=2, **one)  # To warm up.
                _add(alone[what], turns.take_turns(pair, rounds=rounds, first=first, **one))
            for what, (path, _) in work.items():
                crowd: dict[str, Any] = {"path": path, "times": TURN_OF_THREADS, "threads": THREADS}
                turns.take_turns(pair, rounds=MEETINGS, **crowd)
                # Others than those of before, or threads would meet the same users in the same order.
                after = first + MEETINGS
                _add(together[what], turns.take_turns(pair, rounds=CROWDS, first=after, **crowd))
    for what, (_, at_most) in work.items():
        against = ratio(alone[what][DSUD], alone[what][PLAIN])
        name = f"{what}: dsud against plain, {PROCESSES} processes of each"
        yield Figure(name, against, RATIO, at_most, floor=1.0)
        yield from _together(what, together[what], at_most=at_most if what == "list" else None)


def _add(found: dict[str, list[Turn]], more: dict[str, list[Turn]]) -> None:
    for name, each in more.items():
        found[name] += each


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
