"""What a new user's database costs, beside bare files and beside what peers do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

from benchmarks import field
from benchmarks.contenders import Contender
from benchmarks.figures import RATIO, Figure, Panel, Report

PEERS = (field.USER_DB, field.LITE, field.LITE_TEMPLATE, field.TENANTS)

#: More tables of each user's, so that there are 25, as in the benchmarks of fleets.
TABLES = "20"

#: How many users sign up in a turn.
TURN = 8

#: How many have signed up before, so that the directories that users are spread over are there.
BEFORE = 800

#: In how many rounds peers take part, of whom one user takes as long as a turn.
PEERS_EVERY = 8

#: What the bare file system is asked for.
WRITE = "bare write, fsync, rename"
SYNC = "bare write, fsync, rename, fsync of the directory"
QUERY = "bare sqlite3: the same, opened and queried"
APART = "bare sqlite3: the same, each in a directory of its own"


class Found(NamedTuple):
    """The medians of each turn, in milliseconds, by who took it."""

    turns: dict[str, list[float]]

    def of(self, name: str) -> float:
        """Return the median of all turns."""
        return median(self.turns[name])

    def beyond(self, name: str) -> float:
        """Return what a sign-up takes longer than one without a database, turn by turn."""
        plain = self.turns[field.SQLITE.name]
        return median(own - one for own, one in zip(self.turns[name], plain, strict=True))

    def ratio(self, name: str) -> float:
        """Return how many times the floor `name` a database of ours takes, turn by turn."""
        ours, plain = self.turns[field.OURS.name], self.turns[field.SQLITE.name]
        return median(
            (own - one) / floor
            for own, one, floor in zip(ours, plain, self.turns[name], strict=True)
        )


def run(*, quick: bool = False) -> Report:
    """Sign users up, turn by turn, on each site."""
    rounds = 25 if quick else 100
    found, absent = _measure(rounds, quick=quick)
    return Report(
        "A new user's database",
        _figures(found),
        panels=[_panel(found)],
        sizes={
            "users before": BEFORE,
            "rounds": rounds,
            "sign-ups in each round": TURN,
            "tables of each user": 25,
        },
        absent=absent,
    )


def _measure(rounds: int, *, quick: bool) -> tuple[Found, dict[str, str]]:
    entrants = (field.OURS, field.SQLITE, *PEERS)
    with ExitStack() as stack:
        sites, absent = stack.enter_context(
            field.gather(entrants, environment={"BENCH_TABLES": TABLES}, quick=quick)
        )
        contenders = [stack.enter_context(site.starts("benchmarks.signing_up")) for site in sites]
        for each in contenders:
            each.ask("prepare")
        for each in contenders[:2]:  # With peers, as many would take minutes.
            each.ask("sign_up", times=BEFORE)
        with sites[0].starts("benchmarks.returning") as process:
            asked = {
                "template": process.ask("template"),
                "query": process.ask("statements")["read"][0],
            }
        turns: dict[str, list[float]] = {}
        for number in range(rounds):
            with_peers = number % PEERS_EVERY == 0
            for name, seconds in _round(contenders, asked, with_peers=with_peers):
                turns.setdefault(name, []).append(median(seconds) * 1000)
    return Found(turns), absent


def _round(
    contenders: Sequence[Contender], asked: dict[str, str], *, with_peers: bool
) -> Iterator[tuple[str, list[float]]]:
    """Yield the seconds of everybody's turn; those of a few peers are enough, because they take long."""
    ours, plain, *peers = contenders
    yield ours.name, ours.ask("sign_up", times=TURN, query=asked["query"])
    yield plain.name, plain.ask("sign_up", times=TURN)
    for name, syncs_directory, query, apart in (
        (WRITE, False, "", False),
        (SYNC, True, "", False),
        (QUERY, True, asked["query"], False),
        (APART, True, asked["query"], True),
    ):
        arguments = {"template": asked["template"], "times": TURN, "query": query, "apart": apart}
        yield name, plain.ask("write_bare", syncs_directory=syncs_directory, **arguments)
    if with_peers:
        for peer in peers:
            yield peer.name, peer.ask("sign_up", times=1, query=asked["query"])


def _figures(found: Found) -> list[Figure]:
    ours, plain = field.OURS.name, field.SQLITE.name
    own = found.beyond(ours)
    figures = [
        Figure("a sign-up where nobody has a database", found.of(plain), "ms"),
        Figure("a sign-up with a database, and its first query", found.of(ours), "ms"),
        Figure("what the database takes beyond the sign-up", own, "ms", floor=found.of(QUERY)),
        Figure(f"    against {WRITE}", found.ratio(WRITE), RATIO, floor=1.0),
        Figure(f"    against {SYNC}", found.ratio(SYNC), RATIO, floor=1.0),
        Figure(f"    against {QUERY}", found.ratio(QUERY), RATIO, 4.0, 1.0),
        Figure(f"    against {APART}", found.ratio(APART), RATIO, 2.5, 1.0),
    ]
    for peer in PEERS:
        if peer.name in found.turns:
            at_least = 50.0 if peer is field.USER_DB else None
            faster = (found.of(peer.name) - found.of(plain)) / own
            text = f"{peer.name} against dsud"
            figures.append(Figure(text, faster, RATIO, at_least=at_least))
    return figures


def _panel(found: Found) -> Panel:
    floors, plain = (WRITE, SYNC, QUERY, APART), found.of(field.SQLITE.name)
    bars = {field.OURS.name: found.beyond(field.OURS.name)}
    bars |= {name: found.of(name) for name in floors}
    bars |= {each.name: found.of(each.name) - plain for each in PEERS if each.name in found.turns}
    return Panel(
        "a new database, ready, durable and queried, beyond the sign-up", "ms", bars, log=True
    )
