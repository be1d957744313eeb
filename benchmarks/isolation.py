"""What fails, what is shown to somebody else, and what is lost, when sixteen threads ask for many users."""

from __future__ import annotations

from typing import Any

from benchmarks import field
from benchmarks.contenders import Failed
from benchmarks.field import Site
from benchmarks.figures import Figure, Panel, Report

THREADS = 16

#: With fewer connections than users, each has to be closed for another, while others are in use.
CAP = 20

COUNTED = {
    "failed": "requests that failed",
    "foreign": "answers with rows of another user",
    "lost": "notes that were lost by the load or a deploy",
    "misplaced": "notes that a deploy put into another user's place",
    "overwritten": "notes overwritten by one that was loaded as another user",
}


def run(*, quick: bool = False) -> Report:
    """Load each site in turn, then deploy, and compare what lies there with what was written."""
    users, requests = (30, 40) if quick else (60, 200)
    entrants = (*field.EVERYBODY, field.LITE_TEMPLATE)
    with field.gather(entrants, environment={"BENCH_MAX_OPEN": str(CAP)}, quick=quick) as (
        sites,
        absent,
    ):
        found = {site.name: _found(site, users=users, requests=requests) for site in sites}
    return Report(
        f"{THREADS} threads ask as {users} users, with {CAP} open databases at most",
        [
            Figure(f"dsud: {what}", found[field.OURS.name][key], "", at_most=0, exact=True)
            for key, what in COUNTED.items()
        ],
        # What others do is reported; only ours must be nothing.
        panels=[
            Panel(what, "", {name: counts[key] for name, counts in found.items()})
            for key, what in COUNTED.items()
        ],
        sizes={"users": users, "requests": THREADS * requests, "threads": THREADS, "open": CAP},
        absent=absent,
        remarks={name: counts["remark"] for name, counts in found.items() if counts["remark"]},
    )


def _found(site: Site, *, users: int, requests: int) -> dict[str, Any]:
    with site.starts("benchmarks.isolation_work") as contender:
        contender.ask("fill", users=users)
        under_load = contender.ask("load", threads=THREADS, requests=requests)
        errors = ", ".join(f"{times} x {kind}" for kind, times in under_load["errors"].items())
        remarks = [f"requests failed with {errors}."] if errors else []
        try:
            contender.ask("upgrade")
        except Failed as error:
            remarks.append(f"its command for a deploy ended with {str(error).splitlines()[-1]}.")
        kept = contender.ask("kept")
        mixed = contender.ask("mix_up")
    overwritten = mixed.pop("overwritten")
    remarks += [f"{times} mix-ups were refused with {kind}." for kind, times in mixed.items()]
    return {**under_load, **kept, "overwritten": overwritten, "remark": " ".join(remarks)}
