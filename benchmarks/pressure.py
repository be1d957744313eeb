"""More users at work than connections may be open: three and twelve times the cap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks import field, turns
from benchmarks.figures import RATIO, Figure, Panel, Report
from benchmarks.turns import per_second, ratio, typical
from benchmarks.visits import CREATE, LIST

if TYPE_CHECKING:
    from benchmarks.contenders import Contender

#: Connections that a process may hold open, and how many times as many users are at work.
CAP, TIMES = 20, (1, 3, 12)

NOTES, TURN, THREADS = 50, 100, 8

SYNCHRONOUS = "FULL"

#: Those who have a file for each user; nobody else has more to open for more users.
_PEERS = (field.LITE, field.USER_DB)
PEERS = [each.name for each in _PEERS]

#: In so many rounds, because they have no target.
ROUNDS_OF_PEERS = 3

DSUD, PLAIN = (each.name for each in (field.OURS, field.SQLITE))

#: Ours, where nobody finds a database closed, and bare ``sqlite3`` opens as many beside it.
BESIDE = "dsud, bare openings beside it"


def run(*, quick: bool = False) -> Report:
    """Let working sets of all sizes visit one site, turn by turn, with one thread and with eight."""
    figures: list[Figure] = []
    panels: list[Panel] = []
    users = CAP * TIMES[-1]
    told = {"BENCH_MAX_OPEN": str(CAP), "BENCH_SYNCHRONOUS": SYNCHRONOUS}
    with ExitStack() as stack:
        entrants = (field.OURS, field.SQLITE, *_PEERS)
        gathered = field.gather(entrants, environment=told, quick=quick)
        sites, absent = stack.enter_context(gathered)
        work = {DSUD: "benchmarks.beside_bare"}
        contenders = {
            each.name: stack.enter_context(each.starts(work.get(each.name, "benchmarks.visits")))
            for each in sites
        }
        for each in contenders.values():
            each.ask("fill", users=users, notes=NOTES)
        rounds = 4 if quick else 10
        for what, path in (("list", LIST), ("create", CREATE)):
            for threads in (1,) if quick else (1, THREADS):
                taken = _working_sets(contenders, path, rounds=rounds, threads=threads)
                peers = _beside_peers(contenders, path, threads=threads)
                title = f"{what}, {threads} thread{'s' if threads > 1 else ''}"
                figures += [*_figures(title, taken), *_failed(taken, peers), *_of_peers(peers)]
                panels.append(_panel(title, taken, peers))
        handles = contenders[DSUD].ask("handles")
    figures.append(
        Figure("files open at the end", handles, "files", at_most=3 * CAP + 40, exact=True)
    )
    return Report(
        f"Working sets of 1, 3 and 12 times the cap of {CAP} connections",
        figures,
        panels,
        sizes={"cap": CAP, "users": users, "notes of each": NOTES, "visits in a turn": TURN},
        absent=absent,
    )


#: The turns of each contender, by how many times the cap are at work.
Taken = dict[int, dict[str, list[turns.Turn]]]


def _working_sets(
    contenders: dict[str, Contender], path: str, *, rounds: int, threads: int
) -> Taken:
    """Take turns with the sizes as well, because what the machine does else must hit all of them."""
    taken: Taken = {}
    members = [contenders[DSUD], contenders[PLAIN]]
    for number in range(rounds + 1):
        for times in TIMES:
            visits = _visits(path, times=times, threads=threads)
            if times == TIMES[0]:  # Whoever was there before must not have emptied the pool.
                turns.take_turns(members, rounds=1, first=number, **visits)
            found = turns.take_turns(members, rounds=1, first=number, **visits)
            if threads == 1 and times > TIMES[0]:
                found[BESIDE] = [_beside(contenders[DSUD], path, times=times, seed=number)]
            if number:  # The first is to warm up.
                for name, each in found.items():
                    taken.setdefault(times, {}).setdefault(name, []).extend(each)
    return taken


def _visits(path: str, *, times: int, threads: int) -> dict[str, Any]:
    """Return what a turn is asked for; those that fail are counted."""
    among = CAP * times
    return {"path": path, "times": TURN, "among": among, "threads": threads, "may_fail": True}


def _beside_peers(contenders: dict[str, Contender], path: str, *, threads: int) -> Taken:
    """Take turns with peers and nobody else, because they slow whoever comes next."""
    ours, peers = contenders[DSUD], [contenders[name] for name in PEERS if name in contenders]
    taken: Taken = {}
    for times in TIMES[1:] if peers else ():
        visits = _visits(path, times=times, threads=threads)
        turns.take_turns([ours, *peers], rounds=1, **visits)
        taken[times] = turns.take_turns([ours, *peers], rounds=ROUNDS_OF_PEERS, first=1, **visits)
    return taken


def _beside(ours: Contender, path: str, *, times: int, seed: int) -> turns.Turn:
    """Let those visit who fit, with as many openings as there are misses among so many."""
    hot = {"path": path, "among": CAP}
    ours.ask("visit", times=TURN, seed=seed, **hot)  # Because others have emptied the pool.
    turn: turns.Turn = ours.ask(
        "visit_beside_bare",
        times=TURN,
        seed=seed,
        share=1 - 1 / times,
        synchronous=SYNCHRONOUS,
        **hot,
    )
    return turn


def _figures(title: str, taken: Taken) -> list[Figure]:
    hot = taken[1]
    figures = [Figure(f"{title}: dsud, hot", typical(hot[DSUD], per_second), "requests/s")]
    for times in TIMES[1:]:
        now = taken[times]
        figures += _pressed(times, hot, now)
        plain = ratio(now[DSUD], now[PLAIN], per_second)
        figures.append(Figure("        against plain Django with as many users", plain, RATIO))
    return figures


def _failed(*every: Taken) -> Iterator[Figure]:
    """Count what nobody may fail to answer, whoever takes turns beside them."""
    for name, what in ((DSUD, "dsud"), (PLAIN, "plain Django")):
        turns_of = (found.get(name, ()) for taken in every for found in taken.values())
        failed = sum(turn["failed"] for each in turns_of for turn in each)
        text = f"    requests of {what} that failed"
        yield Figure(text, failed, "requests", at_most=0, exact=True)


def _of_peers(peers: Taken) -> Iterator[Figure]:
    for times, found in peers.items():
        for name in (name for name in PEERS if name in found):
            against = ratio(found[DSUD], found[name], per_second)
            yield Figure(f"    {times} times the cap, throughput against {name}", against, RATIO)
            failed = sum(turn["failed"] for turn in found[name])
            asked = failed + sum(len(turn["each"]) for turn in found[name])
            yield Figure("        its requests that failed", 100 * failed / asked, "%")


def _pressed(
    times: int, hot: dict[str, list[turns.Turn]], now: dict[str, list[turns.Turn]]
) -> Iterator[Figure]:
    left = ratio(now[DSUD], hot[DSUD], per_second)
    what = f"    {times} times the cap, throughput against hot"
    is_judged = times == TIMES[1]
    if BESIDE not in now:
        yield Figure(what, left, RATIO, at_least=0.75 if is_judged else None)
        return
    bare = ratio(now[BESIDE], hot[DSUD], per_second)
    yield Figure(what, left, RATIO, at_least=0.6 if is_judged else None, floor=bare)
    yield Figure(
        "        against what is left where bare sqlite3 opens as many",
        ratio(now[DSUD], now[BESIDE], per_second),
        RATIO,
        at_least=0.85 if is_judged else None,
        floor=1.0,
    )


def _panel(title: str, *every: Taken) -> Panel:
    """Show each contender once, by the first turns that it has."""
    bars: dict[str, float] = {}
    for taken in every:
        for times, found in taken.items():
            for name in (name for name in found if name != BESIDE):
                bars.setdefault(f"{name}, {times} x the cap", typical(found[name], per_second))
    return Panel(f"{title}: throughput", "requests/s", bars)
