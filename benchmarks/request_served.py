"""Requests over HTTP: gunicorn with one, two and four processes, and uvicorn, under load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import field as entry
from benchmarks import serving
from benchmarks.contenders import Contender
from benchmarks.field import Site
from benchmarks.figures import RATIO, Figure, Panel
from benchmarks.request_in_process import (
    DSUD,
    NOTES,
    PEERS,
    PLAIN,
    POSTGRESQL,
    UNKEPT,
    USERS,
)
from benchmarks.serving import Server
from benchmarks.turns import Turn, p99, ratio, typical
from benchmarks.visits import CREATE, LIST

if TYPE_CHECKING:
    from benchmarks.diary.people import Visitor

ENTRANTS = (entry.OURS, entry.SQLITE, entry.UNKEPT, entry.POSTGRESQL, *entry.PEERS)

#: Peers are served by so many processes, and asynchronously.
WITH_PEERS = 2
ALL = [each.name for each in ENTRANTS]
NO_PEERS = [name for name in ALL if name not in PEERS]

#: The users of each contender's site.
Visitors = Mapping[Site, "list[Visitor]"]

#: How a server for a contender is started.
Start = Callable[[Site], AbstractContextManager[Server]]


@dataclass
class Found:
    """What came of the load on all servers."""

    figures: list[Figure] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    #: The turns of each contender, by the kind of server and of request.
    turns: dict[str, dict[str, list[Turn]]] = field(default_factory=dict)
    #: How often each error was raised by a view, by contender and server.
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """How the load is given: so many turns of so many seconds for each contender.

    More where a target is judged, because turns of four processes on two cores differ by a quarter.
    """

    turns: int
    judged: int
    seconds: float


def measure(*, processes: Sequence[int], pace: Pace, quick: bool, absent: dict[str, str]) -> Found:
    """Put every contender behind every kind of server, and drive them turn by turn.

    A quick run has two contenders create durably, and no more.
    """
    found = Found()
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="dsud-bench-")))
        load = stack.enter_context(Contender("the load", work="benchmarks.load", directory=place))
        sites, missing = stack.enter_context(entry.gather(ENTRANTS, quick=quick))
        absent.update(missing)
        drive = Drive(load, pace, _filled(sites), found)
        for number in processes:
            drive.gunicorn(number, quick=quick)
        if not quick:
            drive.uvicorn()
    found.figures += _verdicts(found)
    return found


def _filled(sites: Sequence[Site]) -> Visitors:
    found = {}
    for site in sites:
        with site.visits() as contender:
            found[site] = contender.ask("fill", users=USERS, notes=NOTES)
    return found


@dataclass(frozen=True)
class Drive:
    """Loads the servers of all contenders in turn."""

    load: Contender
    pace: Pace
    visitors: Visitors
    found: Found

    def gunicorn(self, processes: int, *, quick: bool) -> None:
        """Create durably, list, and create with NORMAL, on so many processes."""
        name = f"{processes} process{'es' if processes > 1 else ''}"
        connections = processes * serving.THREADS

        def start(site: Site) -> AbstractContextManager[Server]:
            return serving.gunicorn(site, processes=processes)

        listed = {} if quick else {f"list, {name}": LIST}
        works = {f"create, FULL, {name}": CREATE, **listed}
        self._on(start, connections, works, asked=ALL if processes == WITH_PEERS else NO_PEERS)
        if not quick:
            works = {f"create, NORMAL, {name}": CREATE}
            self._on(start, connections, works, asked=(DSUD, PLAIN), synchronous="NORMAL")

    def uvicorn(self) -> None:
        """Create and list asynchronously."""
        works = {"create, FULL, ASGI": CREATE, "list, ASGI": LIST}
        self._on(serving.uvicorn, serving.THREADS, works, asked=ALL)

    def _on(
        self,
        start: Start,
        connections: int,
        works: Mapping[str, str],
        *,
        asked: Sequence[str],
        synchronous: str = "FULL",
    ) -> None:
        with ExitStack() as stack:
            servers = {
                site: stack.enter_context(start(site.told(BENCH_SYNCHRONOUS=synchronous)))
                for site in self.visitors
                if site.name in asked
            }
            for name, path in works.items():
                self._compare(name, path, servers, connections)

    def _compare(
        self, name: str, path: str, servers: Mapping[Site, Server], connections: int
    ) -> None:
        turns: dict[str, list[Turn]] = {site.name: [] for site in servers}
        before = {site: len(server.errors()) for site, server in servers.items()}
        for site, server in servers.items():  # To warm up.
            self._turn(site, server, path=path, connections=connections, seconds=0.5)
        for number in range(self.pace.judged if _is_judged(name) else self.pace.turns):
            order = list(servers.items())
            first = number % len(order)
            for site, server in order[first:] + order[:first]:
                turn = self._turn(
                    site, server, path=path, connections=connections, seconds=self.pace.seconds
                )
                turns[site.name].append(turn)
        for site, server in servers.items():
            errors = Counter(server.errors()[before[site] :]) + _bad_answers(turns[site.name])
            for error, times in errors.items():
                what = f"{site.name}, {name}: {error.removeprefix(serving.MARK)}"
                self.found.errors[what] = times
        self.found.turns[name] = turns
        for what, unit, of in (("throughput", "requests/s", per_second), ("p99", "ms", _p99_ms)):
            bars = {each: typical(taken, of) for each, taken in turns.items()}
            self.found.panels.append(Panel(f"{name}: {what}", unit, bars))

    def _turn(
        self, site: Site, server: Server, *, path: str, connections: int, seconds: float
    ) -> Turn:
        return self.load.ask(
            "drive",
            port=server.port,
            path=path,
            visitors=self.visitors[site],
            connections=connections,
            seconds=seconds,
        )


def per_second(turn: Turn) -> float:
    """Return how many visits were answered in a second with what was asked for."""
    good = len(turn["each"]) - _bad_answers([turn]).total()
    return float(good / turn["all"])


def _bad_answers(turns: Sequence[Turn]) -> Counter[str]:
    """Return how often each status was answered that is none of success."""
    statuses: Counter[str] = Counter()
    for turn in turns:
        statuses.update(turn["statuses"])
    bad = (status for status in statuses if not status.startswith("2"))
    return Counter({f"answered with {status}": statuses[status] for status in bad})


def _p99_ms(turn: Turn) -> float:
    return p99(turn) * 1000


def _verdicts(found: Found) -> Iterator[Figure]:
    for name, turns in found.turns.items():
        yield from _against(name, turns)
    yield Figure("the load's share of the processor time of a core", _share(found), "%")
    locked = sum(times for error, times in found.errors.items() if "database is locked" in error)
    yield Figure('"database is locked", all contenders', locked, "errors")
    ours = sum(times for error, times in found.errors.items() if error.startswith(DSUD))
    yield Figure("errors of dsud", ours, "errors", at_most=0, exact=True)


def _is_judged(name: str) -> bool:
    """Tell whether several processes create durably, which is what user databases are faster at."""
    return name.startswith("create, FULL") and name.endswith("processes")


def _against(name: str, turns: dict[str, list[Turn]]) -> Iterator[Figure]:
    ours, plain, judged = turns[DSUD], turns[PLAIN], _is_judged(name)
    yield Figure(f"{name}: dsud", typical(ours, per_second), "requests/s")
    yield Figure(
        "    throughput against plain",
        ratio(ours, plain, per_second),
        RATIO,
        at_least=1.2 if judged else None,
    )
    yield Figure(
        "    p99 against plain", ratio(ours, plain, p99), RATIO, at_most=0.5 if judged else None
    )
    for other in (UNKEPT, POSTGRESQL, *PEERS):
        if other in turns:
            against = ratio(ours, turns[other], per_second)
            yield Figure(f"    throughput against {other}", against, RATIO)


def _share(found: Found) -> float:
    every = [turn for turns in found.turns.values() for taken in turns.values() for turn in taken]
    return 100 * sum(turn["processor"] for turn in every) / sum(turn["all"] for turn in every)
