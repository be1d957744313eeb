"""What a process holds while many users are active: memory for each open database, and file handles."""

from __future__ import annotations

import resource
from dataclasses import replace

from benchmarks import field
from benchmarks.figures import Figure, Panel, Report

#: Users who are active at the same time.
ACTIVE = (64, 512, 4096)

#: As many as a peer makes databases for within a minute.
ACTIVE_OF_PEERS = 64

#: As many as are asked of one database for everybody, which holds no more for more users.
ACTIVE_TOGETHER = 512

NOTES = 30

#: More tables of each user's, so that there are 25: what is open remembers what it has.
TABLES = "20"

#: What is held does not depend on how durable it is, and users are made sooner without.
ENVIRONMENT = {"BENCH_TABLES": TABLES, "BENCH_SYNCHRONOUS": "NORMAL"}

#: What most systems let a process open, if nobody says otherwise.
USUAL = 1024

#: Handles that a process has beside those of users: its own, and what threads have of `default`.
CONSTANT = 64

ENTRANTS = (field.OURS, field.SQLITE, field.POSTGRESQL, field.USER_DB, field.LITE, field.FLOOR)


def run(*, quick: bool = False) -> Report:
    """Serve users until all are active, in a fresh process each time."""
    active = ACTIVE[:2] if quick else ACTIVE
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    figures: list[Figure] = []
    panels: list[Panel] = []
    with field.gather(ENTRANTS, environment=ENVIRONMENT, quick=quick) as ((*sites, bare), absent):
        for site in sites:
            users = min(_most(site), active[-1])
            with site.starts("benchmarks.holding") as process:
                process.ask("prepare", users=users + 8, notes=NOTES)
        ours, *others = sites
        for users in active:
            found = {limit: _served(ours, users, limit) for limit in (USUAL, hard)}
            place = replace(bare, directory=bare.directory / str(users))
            floors = _bare(ours, place, users, found)
            figures += _figures(users, found, floors)
            panels.append(_panel(users, found[hard], floors[hard], others))
    return Report(
        "What a process holds while users are active",
        figures,
        panels=panels,
        sizes={
            "notes of each user": NOTES,
            "tables": 25,
            "open files, hard limit": hard,
            "threads": 8,
        },
        absent=absent,
    )


def _most(site: field.Site) -> int:
    """Return how many users there are on a site."""
    if site.name == field.OURS.name:
        return ACTIVE[-1]
    return ACTIVE_OF_PEERS if site.entrant.peer else ACTIVE_TOGETHER


def _served(site: field.Site, users: int, files: int) -> dict[str, int]:
    """Serve users in a fresh process, because memory that is given back is seldom seen to be."""
    with site.starts("benchmarks.holding") as process:
        found: dict[str, int] = process.ask("serve", users=users, files=files)
    return found


def _bare(
    ours: field.Site, bare: field.Site, users: int, found: dict[int, dict[str, int]]
) -> dict[int, dict[str, int]]:
    """Return what bare SQLite takes, with as many open as were with each limit."""
    with ours.starts("benchmarks.returning") as process:
        asked, template = process.ask("statements"), process.ask("template")
    with bare.starts("benchmarks.floor") as floor:
        paths = floor.ask("make_files", template=template, times=users + 8)
    floors = {}
    for limit, held in found.items():
        with bare.starts("benchmarks.floor") as floor:
            floor.ask("hold", paths=paths[users:], **asked)
            floors[limit] = floor.ask("hold", paths=paths[:users], most=held["opened"], **asked)
    return floors


def _kilobytes(found: dict[str, int], databases: int) -> float:
    return found["grown"] / databases / 1000


def _figures(
    users: int, found: dict[int, dict[str, int]], floors: dict[int, dict[str, int]]
) -> list[Figure]:
    figures = []
    for limit, held in found.items():
        text = f"{users:,} users, limit of {limit:,} files"
        bound = 3 * min(held["cap"], users)
        bare = _kilobytes(floors[limit], floors[limit]["opened"])
        each = _kilobytes(held, held["opened"])
        figures += [
            Figure(f"{text}: databases open (cap {held['cap']:,})", held["opened"], ""),
            Figure("    memory for each", each, "KB", at_most=300.0, floor=bare),
            Figure("    handles at most, at any moment", held["handles"], "", floor=bound),
            Figure(
                "    beyond three for each that may be open",
                held["handles"] - bound,
                "",
                at_most=CONSTANT,
                exact=True,
            ),
        ]
    return figures


def _panel(
    users: int, held: dict[str, int], floor: dict[str, int], others: list[field.Site]
) -> Panel:
    bars = {field.OURS.name: held["grown"] / 1e6, field.FLOOR.name: floor["grown"] / 1e6}
    for site in others:
        if users <= _most(site):
            bars[site.name] = _served(site, users, held["files"])["grown"] / 1e6
    return Panel(f"Memory that {users:,} active users take", "MB", bars)
