"""What a request costs: a list of twenty rows and a new row, beside plain Django and the floor."""

from __future__ import annotations

from benchmarks import request_in_process, request_served, serving
from benchmarks.figures import Report
from benchmarks.request_served import Pace


def run(*, quick: bool = False) -> Report:
    """Measure requests in the process itself, and over HTTP under load."""
    absent: dict[str, str] = {}
    figures, panels = request_in_process.measure(
        rounds=8 if quick else 16, quick=quick, absent=absent
    )
    found = request_served.measure(
        processes=[2] if quick else [1, 2, 4],
        pace=Pace(3, 3, 0.8) if quick else Pace(5, 9, 1.0),
        quick=quick,
        absent=absent,
    )
    return Report(
        "A request: a list of 20 rows, and a new row; hot set of 50 users",
        figures + found.figures,
        panels + found.panels,
        sizes={
            "users": request_in_process.USERS,
            "notes of each": request_in_process.NOTES,
            "threads of each process": serving.THREADS,
            **found.errors,
        },
        absent=absent,
    )
