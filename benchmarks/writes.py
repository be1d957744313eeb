"""How fast notes are written by several users at once, and how long the slowest of them wait."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from statistics import median, quantiles

from benchmarks import field as entry
from benchmarks.contenders import Contender
from benchmarks.figures import RATIO, Figure, Panel, Report
from benchmarks.turns import drawn

#: The writers, and by how many processes their threads are shared.
WRITERS: Mapping[int, int] = {1: 1, 8: 4, 32: 4}

#: How often everybody writes, and how often peers do, which are not asked for NORMAL.
ROUNDS: Mapping[str, int] = {"FULL": 4, "NORMAL": 2}
ROUNDS_OF_PEERS = 2


#: As many processes as a site has at most.
PROCESSES = max(WRITERS.values())

#: How many users are active where each note is written as one of them, drawn by lot.
ACTIVE = 100

FLOOR = replace(entry.FLOOR, name=f"{entry.FLOOR.name}, a file for each writer")
BARE = FLOOR.name
ALONE = entry.ALONE.name

#: Who draws no lots: whoever writes into a file for each writer is no site.
FLOORS = (BARE, ALONE)

DURABILITIES = {
    "FULL": "durable: FULL, synchronous_commit on",
    "NORMAL": "what NORMAL and asynchronous commit do not promise is to survive the loss of power",
}
LOTS = f"8 who draw one of {ACTIVE} users for each"

#: Seconds between the order and the start, so that all threads are connected.
HEAD_START = 0.3


def _slowest(taken: Sequence[float]) -> float:
    """Return the 99th percentile; nothing that is never done is done fast."""
    return quantiles(taken, n=100)[-1] if len(taken) > 1 else math.inf


@dataclass
class Team:
    """The processes of a contender, which write at the same time."""

    name: str
    processes: Sequence[Contender]
    #: The arguments of `write`, by the number of the process, of processes, of writers, and of users.
    arguments: Callable[[int, int, int, int], dict[str, object]]
    is_peer: bool = False
    #: What its processes are asked for.
    call: str = "write"
    #: Notes in each second, and the 99th percentile in milliseconds, by the number of writers.
    pace: dict[str, list[float]] = field(default_factory=dict)
    slowest: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)

    def write(self, what: str, *, writers: int, of: int, seconds: float) -> None:
        """Let all processes write, and note how fast."""
        processes = self.processes[: WRITERS[writers]]
        at = time.time() + HEAD_START
        with ThreadPoolExecutor(len(processes)) as executor:
            asked = [
                executor.submit(
                    each.ask,
                    self.call,
                    seconds=seconds,
                    at=at,
                    **self.arguments(number, len(processes), writers, of),
                )
                for number, each in enumerate(processes)
            ]
            answers = [each.result() for each in asked]
        taken = [each for answer in answers for each in answer["taken"]]
        self.pace.setdefault(what, []).append(sum(each["in_time"] for each in answers) / seconds)
        self.slowest.setdefault(what, []).append(_slowest(taken) * 1000)
        for each in answers:
            self.errors.update(each["errors"])

    def times(self, other: Team, what: str) -> float:
        """Return how many times as many notes as another it writes, round by round."""
        both = zip(self.pace[what], other.pace[what], strict=True)
        return median(mine / its for mine, its in both)

    def waits(self, other: Team, what: str) -> float:
        """Return how long its slowest wait against another's, round by round."""
        both = zip(self.slowest[what], other.slowest[what], strict=True)
        return median(mine / its for mine, its in both)


def run(*, quick: bool = False) -> Report:
    """Let everybody write, turn by turn, with either durability."""
    found: dict[str, dict[str, Team]] = {}
    absent: dict[str, str] = {}
    seconds = 0.4 if quick else 1.2
    for synchronous in DURABILITIES:
        rounds = 1 if quick else ROUNDS[synchronous]
        found[synchronous], missing = _measure(
            synchronous, rounds=rounds, seconds=seconds, quick=quick
        )
        absent |= missing
    figures = [figure for each in DURABILITIES for figure in _figures(found[each], each)]
    return Report(
        "Notes written by several users at once",
        figures,
        panels=[panel for each in DURABILITIES for panel in _panels(found[each], each)],
        sizes={
            "rounds": 1 if quick else ROUNDS["FULL"],
            "seconds in each": str(seconds),
            "processes": PROCESSES,
        },
        absent=absent,
        remarks={
            f"{team.name}, {synchronous}": f"{count} times {error}"
            for synchronous, teams in found.items()
            for team in teams.values()
            for error, count in team.errors.most_common(3)
        },
    )


def _measure(
    synchronous: str, *, rounds: int, seconds: float, quick: bool
) -> tuple[dict[str, Team], dict[str, str]]:
    entrants: tuple[entry.Entrant, ...] = (
        entry.OURS,
        entry.SQLITE,
        entry.POSTGRESQL,
        entry.ALONE,
    )
    if synchronous == "FULL" and not quick:
        entrants += entry.PEERS
    environment = {"BENCH_SYNCHRONOUS": synchronous}
    with ExitStack() as stack:
        gathered = entry.gather((*entrants, FLOOR), environment=environment)
        (*sites, bare), absent = stack.enter_context(gathered)
        teams = [_team_of(site, stack) for site in sites]
        teams.append(_bare_team(bare, sites[0], stack, synchronous=synchronous))
        everybody = {team.name: team for team in teams}
        for number in range(rounds):
            asked = [each for each in teams if not each.is_peer or number < ROUNDS_OF_PEERS]
            writing = drawn(asked, number)
            for writers in WRITERS:
                for team in writing:
                    team.write(str(writers), writers=writers, of=0, seconds=seconds)
            for team in writing:
                if team.name not in FLOORS and not team.is_peer:
                    team.write(LOTS, writers=8, of=ACTIVE, seconds=seconds)
    return everybody, absent


def _team_of(site: entry.Site, stack: ExitStack) -> Team:
    processes = [stack.enter_context(site.starts("benchmarks.writing")) for _ in range(PROCESSES)]
    is_peer, is_alone = bool(site.entrant.peer), site.name == ALONE
    if is_alone:
        processes[0].ask("prepare_files")
    else:
        processes[0].ask("prepare", users=max(WRITERS) if is_peer else ACTIVE)

    def arguments(number: int, processes: int, writers: int, of: int) -> dict[str, object]:
        threads = writers // processes
        which = {} if is_alone else {"of": of}
        return {"first": number * threads, "threads": threads, **which}

    call = "write_files" if is_alone else "write"
    return Team(site.name, processes, arguments, is_peer=is_peer, call=call)


def _bare_team(bare: entry.Site, ours: entry.Site, stack: ExitStack, *, synchronous: str) -> Team:
    """Return processes that write the statement of ours into copies of our template."""
    with ours.starts("benchmarks.returning") as process:
        asked = process.ask("statements")
        template = process.ask("template")
    processes = [stack.enter_context(bare.starts("benchmarks.floor")) for _ in range(PROCESSES)]
    paths = processes[0].ask("make_files", template=template, times=max(WRITERS))

    def arguments(number: int, processes: int, writers: int, of: int) -> dict[str, object]:
        threads = writers // processes
        mine = paths[number * threads : (number + 1) * threads]
        return {"paths": mine, "statement": asked["write"], "synchronous": synchronous}

    return Team(BARE, processes, arguments)


# What came of it


def _figures(teams: Mapping[str, Team], synchronous: str) -> list[Figure]:
    ours, shared, server, bare, alone = (teams.get(name) for name in _NAMES)
    if ours is None or shared is None or bare is None or alone is None:
        raise LookupError("dsud or one SQLite database could not be measured.")
    durable = synchronous == "FULL"
    figures = []
    for other, name, least in (
        (shared, "one SQLite database", 1.5),
        (server, "one PostgreSQL database", 1.2),
    ):
        if other is None:
            continue
        for what in ours.pace:
            at_least = least if durable and what == "8" else None
            text = f"{synchronous}: notes in a second at {what} writers, against {name}"
            figures.append(Figure(text, ours.times(other, what), RATIO, at_least=at_least))
        for what in ours.pace:
            at_most = 0.3 if durable and what == "32" and other is shared else None
            text = f"{synchronous}: the 99th percentile at {what} writers, against {name}"
            figures.append(Figure(text, ours.waits(other, what), RATIO, at_most))
    figures += _figures_of_floors(ours, (bare, alone), synchronous)
    figures += _figures_of_orm(alone, [each for each in (shared, server) if each], synchronous)
    for team in teams.values():
        text = f"{synchronous}: errors, {team.name}"
        at_most = 0.0 if team is ours else None
        count = team.errors.total()
        figures.append(Figure(text, count, "", at_most, exact=True))
    return figures


def _figures_of_floors(ours: Team, floors: Sequence[Team], synchronous: str) -> Iterator[Figure]:
    for floor in floors:
        for what in floor.pace:
            text = f"{synchronous}: notes in a second at {what} writers, against {floor.name}"
            is_judged = (synchronous, what, floor.name) == ("FULL", "8", ALONE)
            at_least = 0.75 if is_judged else None
            yield Figure(text, ours.times(floor, what), RATIO, at_least=at_least, floor=1.0)


def _figures_of_orm(alone: Team, others: Sequence[Team], synchronous: str) -> Iterator[Figure]:
    """Say how much any package could reach that gives each writer a file and leaves Django its ORM."""
    for other in others:
        for what in alone.pace:
            text = f"{synchronous}: {ALONE}, at {what} writers, against {other.name}"
            yield Figure(text, alone.times(other, what), RATIO)


_NAMES = (entry.OURS.name, entry.SQLITE.name, entry.POSTGRESQL.name, BARE, ALONE)


def _panels(teams: Mapping[str, Team], synchronous: str) -> list[Panel]:
    panels = []
    for writers in WRITERS:
        what = str(writers)
        title = f"{writers} writers ({DURABILITIES[synchronous]})"
        paces = {name: median(team.pace[what]) for name, team in teams.items()}
        panels.append(Panel(f"Notes in a second, {title}", "", paces))
        slowest = {name: median(team.slowest[what]) for name, team in teams.items()}
        panels.append(Panel(f"99th percentile, {title}", "ms", slowest, log=True))
    return panels
