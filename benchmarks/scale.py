"""What a request costs with ten, a thousand and a hundred thousand registered users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks import field, turns
from benchmarks.figures import RATIO, Figure, Panel, Report
from benchmarks.turns import Turn, ratio, typical
from benchmarks.visits import CREATE, LIST

if TYPE_CHECKING:
    from benchmarks.contenders import Contender

REGISTERED = (10, 1_000, 100_000)

#: Users who come: all of the ten, and as many of the others; then as many as fit into the pool.
FEW, MANY = 10, 200

NOTES, TURN = 20, 100

#: Who is compared, with the fewest and with the most users, in so many rounds.
ROUNDS_OF_OTHERS = 6
OTHERS = (field.SQLITE, field.POSTGRESQL, *field.PEERS)

WORKS = (
    ("list", LIST, "uniform"),
    ("list", LIST, "zipf"),
    ("create", CREATE, "uniform"),
    ("create", CREATE, "zipf"),
)


def run(*, quick: bool = False) -> Report:
    """Let ten users visit sites of all sizes, and two hundred the larger ones, turn by turn."""
    figures: list[Figure] = []
    bars: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        asked = [(field.OURS, registered) for registered in REGISTERED]
        asked += [] if quick else [(who, number) for who in OTHERS for number in REGISTERED[::2]]
        registered = {_named(who, number): number for who, number in asked}
        entrants = [_with(who, number) for who, number in asked]
        sites, absent = stack.enter_context(field.gather(entrants))
        filled = [_filled(stack, each, registered[each.name]) for each in sites]
        judged, others = filled[: len(REGISTERED)], filled[len(REGISTERED) :]
        for what, path, order in WORKS[::3] if quick else WORKS:
            visits: dict[str, Any] = {"path": path, "order": order, "times": TURN}
            title = f"{what}, {order}"
            turns.take_turns(judged, rounds=1, among=FEW, **visits)  # To warm up.
            found = turns.take_turns(judged, rounds=5 if quick else 16, among=FEW, **visits)
            figures += _figures(title, found)
            if quick:
                bars[title] = _bars(found)
                continue
            beside = _beside(judged[-1], others, visits)
            figures += _of_others(beside)
            bars[f"{title}, {FEW} active"] = _bars(beside | found)
            many = _many(judged[1:], visits)
            figures += _with_many(title, found | many)
            bars[f"{title}, {MANY} active"] = _bars(many)
    return Report(
        "Registered users: a request with 10, 1,000 and 100,000",
        figures,
        [Panel(title, "ms", each) for title, each in bars.items()],
        sizes={"active": f"{FEW} and {MANY}", "notes of each": NOTES, "visits in a turn": TURN},
        absent=absent,
    )


def _beside(
    ours: Contender, others: list[Contender], visits: dict[str, Any]
) -> dict[str, list[Turn]]:
    """Take turns with the others, but not among the turns of all sizes, because they slow who is next."""
    turns.take_turns(others, rounds=1, among=FEW, **visits)  # To warm up.
    return turns.take_turns([ours, *others], rounds=ROUNDS_OF_OTHERS, among=FEW, **visits)


def _many(larger: list[Contender], visits: dict[str, Any]) -> dict[str, list[Turn]]:
    turns.take_turns(larger, rounds=4, among=MANY, **visits)
    return turns.take_turns(larger, rounds=16, among=MANY, **visits)


def _filled(stack: ExitStack, site: field.Site, registered: int) -> Contender:
    contender = stack.enter_context(site.starts("benchmarks.registered"))
    active = min(MANY if site.entrant.settings == field.OURS.settings else FEW, registered)
    contender.ask("fill", users=active, notes=NOTES)
    if registered > active:
        contender.ask("register", more=registered - active, notes=NOTES)
    return contender


def _with(entrant: field.Entrant, registered: int) -> field.Entrant:
    database = f"{entrant.database}{registered}" if entrant.database else ""
    return replace(entrant, name=_named(entrant, registered), database=database)


def _named(entrant: field.Entrant, registered: int) -> str:
    return f"{entrant.name}, {registered:,} users"


def _bars(found: dict[str, list[Turn]]) -> dict[str, float]:
    return {name: typical(taken) * 1000 for name, taken in found.items()}


def _figures(what: str, found: dict[str, list[Turn]]) -> Iterator[Figure]:
    few, some, many = (found[_named(field.OURS, number)] for number in REGISTERED)
    yield Figure(f"{what}: 10 users registered, {FEW} active", typical(few) * 1000, "ms")
    yield Figure(f"{what}: 100,000 against 10", ratio(many, few), RATIO, at_most=1.1, floor=1.0)
    yield Figure("    1,000 against 10", ratio(some, few), RATIO, at_most=1.1)
    yield Figure("    mean instead of median, 100,000 against 10", ratio(many, few, _mean), RATIO)


def _of_others(found: dict[str, list[Turn]]) -> Iterator[Figure]:
    ours = found[_named(field.OURS, REGISTERED[-1])]
    for other in OTHERS:
        if _named(other, REGISTERED[0]) in found:
            least, most = (found[_named(other, number)] for number in REGISTERED[::2])
            yield Figure(f"    {other.name}, 100,000 against 10", ratio(most, least), RATIO)
            yield Figure("        with 100,000, against dsud", ratio(most, ours), RATIO)


def _with_many(what: str, found: dict[str, list[Turn]]) -> Iterator[Figure]:
    some, many = (found[_named(field.OURS, number)] for number in REGISTERED[1:])
    few = found[_named(field.OURS, REGISTERED[0])]
    yield Figure(f"{what}: 100,000 against 1,000, {MANY} active", ratio(many, some), RATIO, 1.1)
    yield Figure(f"    {MANY} active of 100,000 against {FEW} of 10", ratio(many, few), RATIO)


def _mean(turn: Turn) -> float:
    return sum(turn["each"]) / len(turn["each"])
