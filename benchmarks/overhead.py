"""What dsud adds to a warm request: in microseconds, and in calls of functions, which are countable."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.figures import Figure, Panel, Report
from benchmarks.sides import DSUD, PLAIN, Side, site
from benchmarks.visits import CREATE, LIST

USERS, NOTES = 50, 30

#: A site of one user, who needs no column: what dsud itself calls for is the difference.
UNOWNED = "plain Django, nobody's rows"

#: Users of which each has a turn in the microseconds; all their connections are open.
HOT = 50

#: Users of whom none is met again before their Django connection was dropped.
MANY = 150


def run(*, quick: bool = False) -> Report:
    """Count the calls of two requests on both sites, and time what dsud alone does."""
    counted: dict[str, dict[str, dict[str, int]]] = {}
    with tempfile.TemporaryDirectory(prefix="dsud-bench-") as name, ExitStack() as stack:
        for side in (site(DSUD, "ours"), site(PLAIN, "sqlite"), site(UNOWNED, "unowned")):
            counting = replace(side, work="benchmarks.counting")
            contender = stack.enter_context(counting.start(Path(name)))
            sessions = contender.ask("fill", users=USERS, notes=NOTES)
            counted[side.name] = {
                what: contender.ask("calls", path=path, sessions=sessions[:5])
                for what, path in (("list", LIST), ("create", CREATE))
            }
        pieces = Side("pieces", "benchmarks.diary.settings.ours", work="benchmarks.pieces")
        contender = stack.enter_context(pieces.start(Path(name)))
        contender.ask("fill", users=MANY, notes=NOTES)
        taken = contender.ask("microseconds", hot=HOT, times=60 if quick else 400)
    figures = [
        Figure("lease, return, router and context of a request", taken["all"], "µs", at_most=25),
        Figure("    where Django's connection is made anew, too", taken["made anew"], "µs"),
    ]
    for what in ("list", "create"):
        ours, plain, unowned = (
            sum(counted[side][what].values()) for side in (DSUD, PLAIN, UNOWNED)
        )
        figures += [
            Figure(f"calls of a {what}, plain Django with an owner", plain, "calls", exact=True),
            Figure(f"calls of a {what}, dsud", ours, "calls", exact=True),
            Figure("    more than plain", (ours / plain - 1) * 100, "%", at_most=2, exact=True),
            Figure("    more than plain Django without an owner", ours - unowned, "calls"),
        ]
    panels = [
        Panel(
            f"Calls of functions, C included: {what}",
            "calls",
            {side: sum(counted[side][what].values()) for side in (DSUD, PLAIN, UNOWNED)},
        )
        for what in ("list", "create")
    ]
    return Report(
        "What dsud adds to a warm request",
        figures,
        panels,
        sizes={"users": USERS, **{f"list, {name}": number for name, number in _ours(counted)}},
    )


def _ours(counted: dict[str, dict[str, dict[str, int]]]) -> list[tuple[str, int]]:
    """Return the calls of a list in each module of dsud, the most first."""
    modules = {
        name: number for name, number in counted[DSUD]["list"].items() if name.startswith("dsud/")
    }
    return sorted(modules.items(), key=lambda each: -each[1])
