"""Which benchmarks there are, and which of them a quick run has time for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks import fleet, fleet_queries, isolation, split, testing
from benchmarks.figures import Report

BENCHMARKS: Mapping[str, Callable[..., Report]] = {
    "fleet": fleet.run,
    "fleet_queries": fleet_queries.run,
    "isolation": isolation.run,
    "split": split.run,
    "tests": testing.run,
}

#: What `--quick` runs unless it is told names: together less than three minutes.
QUICK = ["tests", "split", "isolation"]
