"""Which benchmarks there are, and which of them a quick run has time for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks import (
    cold,
    fleet,
    fleet_queries,
    isolation,
    memory,
    overhead,
    pressure,
    provision,
    request,
    scale,
    split,
    testing,
    writes,
)
from benchmarks.figures import Report

BENCHMARKS: Mapping[str, Callable[..., Report]] = {
    "cold": cold.run,
    "fleet": fleet.run,
    "fleet_queries": fleet_queries.run,
    "isolation": isolation.run,
    "memory": memory.run,
    "overhead": overhead.run,
    "pressure": pressure.run,
    "provision": provision.run,
    "request": request.run,
    "scale": scale.run,
    "split": split.run,
    "tests": testing.run,
    "writes": writes.run,
}

#: What `--quick` runs unless it is told names: together less than three minutes.
QUICK = ["tests", "split", "isolation", "overhead", "request", "cold"]
