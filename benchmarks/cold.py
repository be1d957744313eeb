"""What a user waits for whose database is closed: the first list, and the first note they write."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

from benchmarks import field
from benchmarks.contenders import Contender
from benchmarks.figures import RATIO, Figure, Panel, Report

#: Users of a site, more than Django's connections that a thread keeps, and the notes of each.
USERS, NOTES = 200, 60

#: More tables of each user's, so that there are 25: opening a database reads what it has.
TABLES = "20"

#: How many users come in a turn.
TURN = 12

BARE = field.FLOOR.name
STATEMENTS = "dsud, the same statements"
STOCK = "Django's own connection, the same statements"
OPEN = "dsud, still open"
TIDY, BARE_TIDY = "dsud, no -wal beside it", f"{BARE}, no -wal beside it"
LOOP = f"{BARE}, in a process that does nothing else"
PEERS = (field.USER_DB, field.LITE)

#: What NORMAL does not promise.
DURABILITIES = {"NORMAL": "NORMAL, the default", "FULL": "FULL"}


class Turns(NamedTuple):
    """The medians of each turn, in milliseconds, by who took it and by its step."""

    found: dict[tuple[str, str], list[float]]

    def add(self, name: str, seconds: Mapping[str, list[float]]) -> None:
        """Take down a turn."""
        for step, each in seconds.items():
            self.found.setdefault((name, step), []).append(median(each) * 1000)

    def of(self, name: str, step: str) -> float:
        """Return the median of all turns."""
        return median(self.found[name, step])

    def ratio(self, name: str, other: str, step: str) -> float:
        """Return how many times as long one takes, turn by turn."""
        both = zip(self.found[name, step], self.found[other, step], strict=True)
        return median(one / another for one, another in both)

    def names(self, step: str) -> list[str]:
        """Return whose turns there were."""
        return [name for name, each in self.found if each == step]


def run(*, quick: bool = False) -> Report:
    """Let users return, turn by turn, with either durability."""
    rounds = 6 if quick else 60
    found: dict[str, Turns] = {}
    absent: dict[str, str] = {}
    for synchronous in DURABILITIES:
        found[synchronous], missing = _measure(synchronous, rounds=rounds, quick=quick)
        absent |= missing
    return Report(
        "A user whose database is closed",
        [figure for each in DURABILITIES for figure in _figures(found[each], each)],
        panels=[panel for each in DURABILITIES for panel in _panels(found[each], each)],
        sizes={
            "users": USERS,
            "notes of each": NOTES,
            "tables of each": 25,
            "rounds": rounds,
            "users in each": TURN,
        },
        absent=absent,
    )


def _measure(synchronous: str, *, rounds: int, quick: bool) -> tuple[Turns, dict[str, str]]:
    turns = Turns({})
    # Peers take a tenth of a second for each user, so they are asked once.
    peers = PEERS if synchronous == "NORMAL" else ()
    entrants = (field.OURS, field.SQLITE, *peers, field.FLOOR)
    environment = {"BENCH_SYNCHRONOUS": synchronous, "BENCH_TABLES": TABLES}
    with ExitStack() as stack:
        gathered = field.gather(entrants, environment=environment, quick=quick)
        (*sites, bare), absent = stack.enter_context(gathered)
        contenders = [stack.enter_context(site.starts("benchmarks.returning")) for site in sites]
        for each in contenders:
            each.ask("prepare", users=USERS, notes=NOTES)
        floor = stack.enter_context(bare.starts("benchmarks.floor"))
        asked = contenders[0].ask("statements")
        race = Race(turns, contenders, floor, {**asked, "synchronous": synchronous})
        for _ in range(rounds):
            race.round()
    return turns, absent


class Race(NamedTuple):
    """Who takes turns: sites, ours first, and the floor, which opens files of ours."""

    turns: Turns
    sites: list[Contender]
    floor: Contender
    #: The statements, and how durable they are.
    asked: dict[str, object]

    def round(self) -> None:
        """Give everybody a turn, each with other users."""
        ours, *others = self.sites
        self.turns.add(ours.name, ours.ask("visit", times=TURN))
        self.turns.add(BARE, ours.ask("visit_bare", times=TURN, **self.asked))
        self._loop_turn()
        asked = {name: self.asked[name] for name in ("read", "write")}
        self.turns.add(STATEMENTS, ours.ask("visit_with", times=TURN, **asked))
        self.turns.add(STOCK, ours.ask("visit_stock", times=TURN, **self.asked))
        self.turns.add(OPEN, ours.ask("visit", times=TURN, stays=True))
        for each in others:
            self.turns.add(each.name, each.ask("visit", times=TURN))
        self._tidy_up()
        self.turns.add(TIDY, ours.ask("visit", times=TURN))
        self._tidy_up()
        self.turns.add(BARE_TIDY, ours.ask("visit_bare", times=TURN, **self.asked))

    def _tidy_up(self) -> None:
        """Leave no -wal beside the files of those who come next."""
        self.floor.ask("tidy_up", paths=self.sites[0].ask("paths", times=TURN))

    def _loop_turn(self) -> None:
        paths = self.sites[0].ask("paths", times=TURN)
        self.turns.add(LOOP, self.floor.ask("visit", paths=paths, **self.asked))
        self.sites[0].ask("skip", times=TURN)


def _figures(turns: Turns, synchronous: str) -> list[Figure]:
    bare, stock, loop = (turns.ratio(STATEMENTS, each, "read") for each in (BARE, STOCK, LOOP))
    text = f"{synchronous}: the first list, the same statement"
    figures = [
        Figure(f"{text}, against bare open, pragmas and query", bare, RATIO, 1.8, 1.0),
        Figure(f"{text}, against Django's own connection", stock, RATIO, 1.3, 1.0),
        Figure(f"{text}, against bare in a process that does nothing else", loop, RATIO),
    ]
    for what, step in _STEPS.items():
        for name, floor in (
            (STATEMENTS, BARE),
            (STOCK, BARE),
            (field.OURS.name, BARE),
            (TIDY, BARE_TIDY),
        ):
            is_judged = (synchronous, step, name) == ("NORMAL", "write", STATEMENTS)
            figures.append(
                Figure(
                    f"{synchronous}: the {what}, {name}",
                    turns.of(name, step),
                    "ms",
                    at_most=0.3 if is_judged else None,
                    floor=turns.of(floor, step),
                )
            )
    return figures


_STEPS = {"first list": "read", "first note": "write", "second note": "again"}


def _panels(turns: Turns, synchronous: str) -> list[Panel]:
    what = DURABILITIES[synchronous]
    return [
        Panel(f"{title} ({what})", "ms", {name: turns.of(name, step) for name in turns.names(step)})
        for title, step in (("The first list", "read"), ("The first note", "write"))
    ]
