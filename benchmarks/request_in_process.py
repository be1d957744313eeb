"""Requests through the WSGI application itself: no server, no network, one thread and sixteen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any

from benchmarks import field, turns
from benchmarks.contenders import Contender
from benchmarks.figures import RATIO, Figure, Panel
from benchmarks.turns import Turn, processor, ratio, typical
from benchmarks.visits import CREATE, LIST

if TYPE_CHECKING:
    from benchmarks.diary.people import Visitor

USERS, NOTES = 50, 100

#: Visits in one turn: once for each user, on average.
TURN = 50

THREADS = 16

#: Visits in one turn of all threads, and turns before they are measured. By then most threads have
#: met most users: a thread has a connection of Django's for each, and makes it when it first meets one.
TURN_OF_THREADS, MEETINGS = 320, 4

ENTRANTS = (field.OURS, field.SQLITE, field.FLOOR, field.UNKEPT, field.POSTGRESQL, *field.PEERS)
DSUD, PLAIN, FLOOR, UNKEPT, POSTGRESQL, *PEERS = (each.name for each in ENTRANTS)

#: Whom dsud is compared with while nobody else takes turns, each in so many processes, and in so many
#: turns of all threads.
RIVALS = (PLAIN, UNKEPT)
PROCESSES = 5
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
                pairs = Pairs(dict(zip(sites, filled, strict=True)), WORK[synchronous], rounds)
                found += pairs.compare()
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


@dataclass
class Pairs:
    """Compares dsud with one rival at a time, in fresh processes, by all of their turns.

    Because two processes of the same site differ by some per cent, and because others who take turns
    leave something behind that slows the next one.
    """

    visitors: Mapping[field.Site, list[Visitor]]
    work: Work
    rounds: int
    #: The turns of the two, by what was done and the rival.
    turns: dict[tuple[str, str], dict[str, list[Turn]]] = dataclass_field(default_factory=dict)

    def compare(self) -> Iterator[Figure]:
        """Have each process of each site take its turns, and compare them."""
        for number in range(PROCESSES):
            with ExitStack() as stack:
                self._once(number * self.rounds, stack)
        for what, (_, at_most) in self.work.items():
            yield from self._verdict(what, at_most)

    def _once(self, first: int, stack: ExitStack) -> None:
        contenders = {}
        for site, known in self.visitors.items():
            if site.name in (DSUD, *RIVALS):
                contenders[site.name] = stack.enter_context(site.visits())
                contenders[site.name].ask("know", visitors=known)
        for rival in RIVALS:
            for what, (path, _) in self.work.items():
                one: dict[str, Any] = {"path": path, "times": TURN}
                pair = [contenders[DSUD], contenders[rival]]
                turns.take_turns(pair, rounds=2, **one)  # To warm up.
                self._add(
                    what, rival, turns.take_turns(pair, rounds=self.rounds, first=first, **one)
                )
        for what, (path, _) in self.work.items():
            crowd: dict[str, Any] = {"path": path, "times": TURN_OF_THREADS, "threads": THREADS}
            pair = [contenders[DSUD], contenders[PLAIN]]
            turns.take_turns(pair, rounds=MEETINGS, **crowd)
            # Others than those of before, or threads would meet the same users in the same order.
            after = first + MEETINGS
            self._add(
                _crowded(what), PLAIN, turns.take_turns(pair, rounds=CROWDS, first=after, **crowd)
            )

    def _add(self, what: str, rival: str, more: dict[str, list[Turn]]) -> None:
        found = self.turns.setdefault((what, rival), {DSUD: [], rival: []})
        for name, each in more.items():
            found[name] += each

    def _verdict(self, what: str, at_most: float) -> Iterator[Figure]:
        found, unkept = self.turns[what, PLAIN], self.turns[what, UNKEPT]
        name = f"{what}: dsud against plain, {PROCESSES} processes of each"
        yield Figure(name, ratio(found[DSUD], found[PLAIN]), RATIO, at_most, floor=1.0)
        against = ratio(unkept[UNKEPT], unkept[DSUD])
        yield Figure("    plain with CONN_MAX_AGE=0 against dsud", against, RATIO, at_least=1.5)
        crowd = self.turns[_crowded(what), PLAIN]
        yield from _together(what, crowd, at_most=at_most if what == "list" else None)


def _crowded(what: str) -> str:
    return f"{what}, {THREADS} threads"


def _alone(name: str, found: dict[str, list[Turn]], *, at_most: float | None) -> Iterator[Figure]:
    ours, plain = found[DSUD], found[PLAIN]
    yield Figure(f"{name}: bare sqlite3", typical(found[FLOOR]) * 1000, "ms")
    yield Figure(f"{name}: plain Django", typical(plain) * 1000, "ms")
    yield Figure(f"{name}: dsud", typical(ours) * 1000, "ms")
    yield Figure(f"{name}: dsud against plain", ratio(ours, plain), RATIO, at_most, floor=1.0)
    yield Figure("    in processor time", ratio(ours, plain, processor), RATIO)
    for other in (POSTGRESQL, *PEERS):
        if other in found:
            yield Figure(f"    {other} against dsud", ratio(found[other], ours), RATIO)


def _together(
    name: str, found: dict[str, list[Turn]], *, at_most: float | None
) -> Iterator[Figure]:
    ours, plain = found[DSUD], found[PLAIN]
    yield Figure(
        f"{_crowded(name)}: dsud against plain, time for all",
        ratio(ours, plain, lambda turn: turn["all"]),
        RATIO,
        at_most,
    )
    yield Figure("    p99 against plain", ratio(ours, plain, turns.p99), RATIO)
