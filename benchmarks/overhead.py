"""What dsud adds to a warm request: in microseconds, and in calls of functions, which are countable."""

from __future__ import annotations

from statistics import median

from benchmarks import field
from benchmarks.figures import Figure, Panel, Report
from benchmarks.visits import CREATE, LIST

USERS, NOTES = 50, 30

#: Whose calls are compared.
COUNTED = (field.OURS, field.SQLITE, field.UNOWNED)

#: Users of which each has a turn in the microseconds; all their connections are open.
HOT = 50

#: Users of whom none is met again before their Django connection was dropped.
MANY = 150

#: How many processes are timed.
PROCESSES = 7


def run(*, quick: bool = False) -> Report:
    """Count the calls of two requests on both sites, and time what dsud alone does."""
    counted: dict[str, dict[str, dict[str, int]]] = {}
    entrants = (*COUNTED, field.POSTGRESQL, *field.PEERS)
    with field.gather(entrants, quick=quick) as (sites, absent):
        for site in sites:
            with site.starts("benchmarks.counting") as contender:
                visitors = contender.ask("fill", users=USERS, notes=NOTES)
                counted[site.name] = {
                    what: contender.ask("calls", path=path, visitors=visitors[:5])
                    for what, path in (("list", LIST), ("create", CREATE))
                }
    taken = _taken(processes=1 if quick else PROCESSES, times=60 if quick else 400)
    figures = [
        Figure("lease, return, router and context of a request", taken["all"], "µs", at_most=25),
        Figure("    where Django's connection is made anew, too", taken["made anew"], "µs"),
        Figure("    a cursor of `default`, which is taken off", taken["default"], "µs"),
    ]
    for what in ("list", "create"):
        ours, plain, unowned = (sum(counted[each.name][what].values()) for each in COUNTED)
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
            {name: sum(calls[what].values()) for name, calls in counted.items()},
        )
        for what in ("list", "create")
    ]
    return Report(
        "What dsud adds to a warm request",
        figures,
        panels,
        sizes={"users": USERS, **{f"list, {name}": number for name, number in _ours(counted)}},
        absent=absent,
    )


def _taken(*, processes: int, times: int) -> dict[str, float]:
    """Return the medians of several processes, which differ by where in memory everything lies."""
    found: list[dict[str, float]] = []
    with field.gather([field.OURS]) as (sites, _):
        for number in range(processes):
            with sites[0].starts("benchmarks.pieces") as pieces:
                if number == 0:
                    pieces.ask("fill", users=MANY, notes=NOTES)
                found.append(pieces.ask("microseconds", hot=HOT, times=times))
    return {name: median(each[name] for each in found) for name in found[0]}


def _ours(counted: dict[str, dict[str, dict[str, int]]]) -> list[tuple[str, int]]:
    """Return the calls of a list in each module of dsud, the most first."""
    modules = {
        name: number
        for name, number in counted[field.OURS.name]["list"].items()
        if name.startswith("dsud/")
    }
    return sorted(modules.items(), key=lambda each: -each[1])
