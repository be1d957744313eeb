"""More users at work than connections may be open: three and twelve times the cap."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks import field, turns
from benchmarks.figures import RATIO, Figure, Panel, Report
from benchmarks.turns import per_second, ratio, typical
from benchmarks.visits import CREATE, LIST

if TYPE_CHECKING:
    from benchmarks.contenders import Contender

#: Connections that a process may hold open, and how many times as many users are at work.
CAP, TIMES = 20, (1, 3, 12)

NOTES, TURN, THREADS = 50, 100, 8

DSUD, PLAIN, FLOOR = (each.name for each in (field.OURS, field.SQLITE, field.FLOOR))


def run(*, quick: bool = False) -> Report:
    """Let working sets of all sizes visit one site, turn by turn, with one thread and with eight."""
    figures: list[Figure] = []
    panels: list[Panel] = []
    users = CAP * TIMES[-1]
    told = {"BENCH_MAX_OPEN": str(CAP), "BENCH_SYNCHRONOUS": "FULL"}
    with ExitStack() as stack:
        entrants = (field.OURS, field.SQLITE, field.FLOOR)
        sites, _ = stack.enter_context(field.gather(entrants, environment=told, quick=quick))
        contenders = {each.name: stack.enter_context(each.visits()) for each in sites}
        for each in contenders.values():
            each.ask("fill", users=users, notes=NOTES)
        rounds = 4 if quick else 10
        for what, path in (("list", LIST), ("create", CREATE)):
            for threads in (1,) if quick else (1, THREADS):
                taken = _working_sets(contenders, path, rounds=rounds, threads=threads)
                title = f"{what}, {threads} thread{'s' if threads > 1 else ''}"
                figures += _figures(title, taken)
                panels.append(_panel(title, taken))
        handles = contenders[DSUD].ask("handles")
    figures.append(
        Figure("files open at the end", handles, "files", at_most=3 * CAP + 40, exact=True)
    )
    return Report(
        f"Working sets of 1, 3 and 12 times the cap of {CAP} connections",
        figures,
        panels,
        sizes={"cap": CAP, "users": users, "notes of each": NOTES, "visits in a turn": TURN},
    )


#: The turns of each contender, by how many times the cap are at work.
Taken = dict[int, dict[str, list[turns.Turn]]]


def _working_sets(
    contenders: dict[str, Contender], path: str, *, rounds: int, threads: int
) -> Taken:
    """Take turns with the sizes as well, because what the machine does else must hit all of them."""
    taken: Taken = {}
    members = [each for name, each in contenders.items() if threads == 1 or name != FLOOR]
    for number in range(rounds + 1):
        for times in TIMES:
            visits = {"path": path, "times": TURN, "among": CAP * times, "threads": threads}
            if times == TIMES[0]:  # Whoever was there before must not have emptied the pool.
                turns.take_turns(members, rounds=1, first=number, **visits)
            found = turns.take_turns(members, rounds=1, first=number, **visits)
            if number:  # The first is to warm up.
                for name, each in found.items():
                    taken.setdefault(times, {}).setdefault(name, []).extend(each)
    return taken


def _figures(title: str, taken: Taken) -> list[Figure]:
    hot = taken[1]
    figures = [Figure(f"{title}: dsud, hot", typical(hot[DSUD], per_second), "requests/s")]
    for times in TIMES[1:]:
        now = taken[times]
        at_least = 0.75 if times == 3 else None  # noqa: PLR2004, because it is the table's
        figures.append(
            Figure(
                f"    {times} times the cap, throughput against hot",
                ratio(now[DSUD], hot[DSUD], per_second),
                RATIO,
                at_least=at_least,
                floor=_floor(hot, now) if FLOOR in now else None,
            )
        )
        plain = ratio(now[DSUD], now[PLAIN], per_second)
        figures.append(Figure("        against plain Django with as many users", plain, RATIO))
    return figures


def _floor(hot: dict[str, list[turns.Turn]], now: dict[str, list[turns.Turn]]) -> float:
    """Return the ratio if a visit took longer only by what it takes bare ``sqlite3`` to open a file."""
    warm = 1 / typical(hot[DSUD], per_second)
    opening = 1 / typical(now[FLOOR], per_second) - 1 / typical(hot[FLOOR], per_second)
    return warm / (warm + opening)


def _panel(title: str, taken: Taken) -> Panel:
    bars = {
        f"{name}, {times} x the cap": typical(each, per_second)
        for times, found in taken.items()
        for name, each in found.items()
        if name != FLOOR
    }
    return Panel(f"{title}: throughput", "requests/s", bars)
